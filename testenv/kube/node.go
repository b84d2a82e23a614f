package kube

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
)

// The files of a node that are the same on all of one kind.
var (
	//go:embed node/containerd.toml
	containerdConfig []byte
	//go:embed node/kubelet.yaml
	kubeletConfig string
	//go:embed node/10-kubeadm.conf
	kubeletDropIn []byte
	//go:embed node/without-docker.sh
	withoutDocker string
)

// images are the parts whose images every node has, if they were asked for.
var images = []artifacts.Part{artifacts.PauseImage, artifacts.PodImage, artifacts.NodeImage, artifacts.CNIImage,
	artifacts.KubeControllersImage, artifacts.TyphaImage, artifacts.FlannelImage,
	artifacts.CNXNodeImage, artifacts.CNXTyphaImage, artifacts.CNXCNIImage, artifacts.CNXAPIServerImage, artifacts.CNXManagerImage}

// Images are the names of the images that every node has.
func (c *Cluster) Images() []string {
	seen := map[string]bool{}
	var names []string
	for _, set := range c.sets {
		for _, p := range images {
			if _, ok := set.Image(p); !ok {
				continue
			}
			if name := artifacts.ImageTag(p, set.Calico); !seen[name] {
				seen[name], names = true, append(names, name)
			}
		}
	}
	return names
}

// makeNode makes a host a node. It joins the cluster once the API is ready, and gets its images meanwhile.
func (c *Cluster) makeNode(ctx context.Context, h *testenv.Host, k Kubelet, ready <-chan struct{}) error {
	files, err := c.nodeFiles(h, k)
	if err != nil {
		return err
	}
	if err := h.WriteFiles(ctx, files...); err != nil {
		return err
	}
	// Images are unpacked when a pod wants them, where that is possible: most pods of most tests want few.
	program, setUp, load := "kubelet", "systemctl restart containerd\n"+withoutDocker, "ctr --namespace k8s.io images import --no-unpack"
	if k == Dockershim {
		program, setUp, load = "kubelet-dockershim", "", "docker load --quiet --input"
	}
	if _, err := h.Sh(ctx, "set -e\n"+c.link(program, "kube-proxy")+"systemctl daemon-reload\n"+setUp); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		_, err := h.Sh(ctx, "set -e\n"+c.load(load))
		return err
	})
	g.Go(func() error {
		select {
		case <-ready:
			return c.join(ctx, h)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return g.Wait()
}

// load is shell commands that hand images to a runtime.
func (c *Cluster) load(command string) string {
	script, seen := "", map[string]bool{}
	for _, set := range c.sets {
		for _, p := range images {
			if f, ok := set.Image(p); ok && !seen[f.Path] {
				seen[f.Path] = true
				script += command + " " + onHost(set, f.Path) + " >/dev/null\n"
			}
		}
	}
	return script
}

// nodeFiles are all files of a node. Paths are kubeadm's where it has any.
func (c *Cluster) nodeFiles(h *testenv.Host, k Kubelet) ([]testenv.File, error) {
	address := h.Address.String()
	user := KubeletUser(h.Name, h.Name, address)
	kubelet, err := c.PKI.Kubeconfig(c.Server, user)
	if err != nil {
		return nil, err
	}
	proxy, err := c.PKI.Kubeconfig(c.Server, Proxy)
	if err != nil {
		return nil, err
	}
	serving, err := issued(c.PKI.CA, user, "/var/lib/kubelet/pki/kubelet")
	if err != nil {
		return nil, err
	}
	files := []testenv.File{
		{Path: pkiDir + "/ca.crt", Mode: 0o644, Content: c.PKI.CA.CertPEM()},
		{Path: etc + "/kubelet.conf", Mode: 0o600, Content: kubelet},
		{Path: "/var/lib/kube-proxy/kubeconfig.conf", Mode: 0o600, Content: proxy},
		{Path: "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", Mode: 0o644, Content: kubeletDropIn},
		{Path: "/etc/sysctl.d/99-kubernetes.conf", Mode: 0o644, Content: []byte("net.ipv4.ip_forward = 1\n")},
		unit("kube-proxy", "network.target", "/usr/bin/kube-proxy", proxyFlags("/var/lib/kube-proxy/kubeconfig.conf")),
	}
	return slices.Concat(files, serving, kubeletFiles(k, address)), nil
}

// kubeletFiles are the unit, the configuration and the arguments of a kubelet, and the configuration of its runtime.
func kubeletFiles(k Kubelet, address string) []testenv.File {
	runtime, config, arguments := "docker", kubeletConfig, "--network-plugin=cni --pod-infra-container-image="+pauseImage+" --node-ip="+address
	if k == Containerd {
		runtime, config = "containerd", kubeletConfig+"containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n"
		arguments = "--node-ip=" + address
	}
	files := []testenv.File{
		unit("kubelet", runtime+".service", "/usr/bin/kubelet", nil),
		{Path: "/var/lib/kubelet/config.yaml", Mode: 0o644, Content: []byte(config)},
		{Path: "/var/lib/kubelet/kubeadm-flags.env", Mode: 0o644, Content: fmt.Appendf(nil, "KUBELET_KUBEADM_ARGS=%q\n", arguments)},
	}
	if k == Containerd {
		files = append(files, testenv.File{Path: "/etc/containerd/config.toml", Mode: 0o644, Content: containerdConfig})
	}
	return files
}

// pauseImage is what holds a pod's namespaces; node/containerd.toml names it too.
const pauseImage = "lab/pause:v1"

// joinWithin bounds how long a node may take until it has told the API what it is.
const joinWithin = 5 * time.Minute

// join starts a prepared node and returns once all that the node lacks is a network, if that, and kube-proxy has written its rules.
func (c *Cluster) join(ctx context.Context, h *testenv.Host) error {
	if _, err := h.Sh(ctx, "systemctl enable --quiet --now kubelet kube-proxy"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	err := c.waitNode(ctx, h.Name, (*Node).settled)
	if err == nil {
		err = proxied(ctx, h)
	}
	if err != nil {
		log, _ := h.Output(context.WithoutCancel(ctx), "journalctl", "--no-pager", "-n", "20", "-u", "kubelet", "-u", "kube-proxy")
		return fmt.Errorf("%s does not join the cluster: %w\n%s", h.Name, err, log)
	}
	return nil
}

// proxied waits until kube-proxy has written its rules for the first time, which may be long after its node is there: it looks for that at growing intervals.
// The table that is asked for is the last one of those it writes.
func proxied(ctx context.Context, h *testenv.Host) error {
	const rules = `until iptables-save -t nat | grep -q -- "-A KUBE-POSTROUTING" && ip6tables-save -t nat | grep -q -- "-A KUBE-POSTROUTING"; do sleep 0.2; done`
	if _, err := h.Sh(ctx, rules); err != nil {
		return fmt.Errorf("kube-proxy does not write its rules: %w", err)
	}
	return nil
}

// settled tells whether the node has its share of pod addresses and its kubelet nothing to complain of, or one thing only; several come in
// brackets.
func (n *Node) settled() bool {
	ready := n.Condition("Ready")
	return n.Spec.PodCIDR != "" && ready.Status != "" && !strings.HasPrefix(ready.Message, "[")
}
