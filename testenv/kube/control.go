package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/pki"
)

const (
	apiPort = "6443"
	etc     = "/etc/kubernetes" // as kubeadm lays it out
	pkiDir  = etc + "/pki"
)

// startControlPlane sets the control plane's host up and returns once the API is ready.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	files, err := c.controlFiles()
	if err != nil {
		return err
	}
	if err := c.Control.WriteFiles(ctx, files...); err != nil {
		return err
	}
	units := "etcd kube-apiserver kube-controller-manager kube-scheduler"
	script := c.link("etcd", "etcdctl", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl") +
		"mkdir -p /root/.kube && ln -sf " + etc + "/admin.conf /root/.kube/config\n" +
		"systemctl daemon-reload && systemctl enable --quiet " + units + " && systemctl start --no-block " + units
	if _, err := c.Control.Sh(ctx, "set -e\n"+script); err != nil {
		return err
	}
	if err := c.admin.waitReady(ctx); err != nil {
		log, _ := c.Control.Output(context.WithoutCancel(ctx), "journalctl", "--no-pager", "-n", "20", "-u", "kube-apiserver", "-u", "etcd")
		return fmt.Errorf("the API of the cluster is not ready: %w\n%s", err, log)
	}
	return nil
}

// waitControllers returns once the controllers have made all that they make by themselves when a cluster is new: two looks at it are equal.
func (c *Cluster) waitControllers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiReadyWithin)
	defer cancel()
	var last testenv.Snapshot
	return poll(ctx, func() error {
		now := testenv.Snapshot{}
		for _, kind := range []string{"serviceaccounts", "configmaps"} {
			if err := c.admin.list(ctx, now, "/api/v1", kind); err != nil {
				return err
			}
		}
		diff := last.Diff(now)
		last = now
		if len(diff) > 0 {
			return fmt.Errorf("its controllers still make %s", diff[0])
		}
		return nil
	})
}

// controlFiles are all files of the control plane's host: certificates, kubeconfigs, units.
func (c *Cluster) controlFiles() ([]testenv.File, error) {
	address := c.Control.Address.String()
	files, err := c.clusterCertificates(address, c.Control.Name)
	if err != nil {
		return nil, err
	}
	etcd, err := etcdCertificates(address, c.Control.Name)
	if err != nil {
		return nil, err
	}
	admin, err := os.ReadFile(c.Lab.KubeconfigFile())
	if err != nil {
		return nil, err
	}
	files = append(append(files, etcd...), testenv.File{Path: etc + "/admin.conf", Mode: 0o600, Content: admin})
	for name, user := range map[string]pki.Subject{"controller-manager.conf": ControllerManager, "scheduler.conf": Scheduler} {
		text, err := c.PKI.Kubeconfig(c.Server, user)
		if err != nil {
			return nil, err
		}
		files = append(files, testenv.File{Path: etc + "/" + name, Mode: 0o600, Content: text})
	}
	return append(files, controlUnits(address, c.Control.Name)...), nil
}

// clusterCertificates are the files of PKI.Write.
func (c *Cluster) clusterCertificates(hosts ...string) ([]testenv.File, error) {
	dir, err := os.MkdirTemp("", "calroll-pki-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := c.PKI.Write(dir, hosts...); err != nil {
		return nil, err
	}
	var files []testenv.File
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		files = append(files, testenv.File{Path: pkiDir + strings.TrimPrefix(path, dir), Mode: info.Mode(), Content: content})
		return err
	})
	return files, err
}

// etcdCertificates are those of the cluster's etcd, which has an authority of its own, and of the API as its client.
func etcdCertificates(hosts ...string) ([]testenv.File, error) {
	ca, err := pki.NewAuthority("etcd-ca")
	if err != nil {
		return nil, err
	}
	pair, err := ca.Pair()
	files := []testenv.File{{Path: pkiDir + "/etcd/ca.crt", Mode: 0o644, Content: pair.Cert}, {Path: pkiDir + "/etcd/ca.key", Mode: 0o600, Content: pair.Key}}
	hosts = append(slices.Clone(hosts), "127.0.0.1", "localhost")
	for base, s := range map[string]pki.Subject{
		"etcd/server": {Name: "etcd", Hosts: hosts}, "etcd/peer": {Name: "etcd", Hosts: hosts},
		"etcd/healthcheck-client": {Name: "kube-etcd-healthcheck-client"}, "apiserver-etcd-client": {Name: "kube-apiserver-etcd-client"},
	} {
		made, issueErr := issued(ca, s, pkiDir+"/"+base)
		files, err = append(files, made...), errors.Join(err, issueErr)
	}
	return files, err
}

// controlUnits are the units of the control plane's host.
func controlUnits(address, name string) []testenv.File {
	conf := func(user string) string { return etc + "/" + user + ".conf" }
	etcd := []string{"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile=" + pkiDir + "/etcd/ca.crt",
		"--etcd-certfile=" + pkiDir + "/apiserver-etcd-client.crt", "--etcd-keyfile=" + pkiDir + "/apiserver-etcd-client.key"}
	return []testenv.File{
		unit("etcd", "network.target", "/usr/bin/etcd", etcdFlags(address, name)),
		unit("kube-apiserver", "etcd.service", "/usr/bin/kube-apiserver", apiServerFlags(pkiDir, etcd, address, apiPort)),
		unit("kube-controller-manager", "kube-apiserver.service", "/usr/bin/kube-controller-manager",
			controllerManagerFlags(pkiDir, conf("controller-manager"))),
		unit("kube-scheduler", "kube-apiserver.service", "/usr/bin/kube-scheduler", schedulerFlags(conf("scheduler"))),
	}
}

// unit is a systemd service that is started again whenever it ends, with a flag a line.
func unit(name, after, program string, flags []string) testenv.File {
	return testenv.File{Path: "/etc/systemd/system/" + name + ".service", Mode: 0o644, Content: fmt.Appendf(nil, `[Unit]
Description=%s of the lab's cluster
After=%s
StartLimitIntervalSec=0

[Service]
ExecStart=%s
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
`, name, after, strings.Join(append([]string{program}, flags...), " \\\n  "))}
}
