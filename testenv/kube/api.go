package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/proc"
)

// apiReadyWithin bounds how long the API may take until it is ready; a few seconds are usual.
const apiReadyWithin = 2 * time.Minute

// APIOptions says which API to start.
type APIOptions struct {
	Programs    *artifacts.Set // made by a request like artifacts.ForAPIServer
	Listen      string         // address, without a port; empty means 127.0.0.1
	Controllers bool           // run kube-controller-manager too: garbage collection, namespaces that end, tokens, pod CIDRs
}

// API is a running kube-apiserver with its etcd: RBAC, the aggregation layer and TLS are on, there are no nodes. Certificates and kubeconfigs are
// in Dir.
type API struct {
	Dir        string // private to this process's user
	Server     string // URL
	Kubeconfig string // file, of a user who may do everything
	PKI        *PKI

	set   *artifacts.Set
	etcd  *artifacts.Etcd
	serve []string // kube-apiserver's flags
	procs []*proc.Proc
}

// StartAPI starts an API and returns once it is ready. The caller stops it; it also ends when this process does, however it ends.
func StartAPI(ctx context.Context, o APIOptions) (_ *API, err error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1"
	}
	a := &API{set: o.Programs}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("cannot start the Kubernetes API: %w", err), a.Stop())
		}
	}()
	if a.Dir, err = os.MkdirTemp("", "calroll-kube-"); err != nil {
		return nil, err
	}
	if a.etcd, err = artifacts.StartEtcd(ctx, artifacts.EtcdOptions{Programs: o.Programs, TLS: true}); err != nil {
		return nil, err
	}
	port, err := a.prepare(o.Listen)
	if err != nil {
		return nil, err
	}
	a.serve = apiServerFlags(a.pkiDir(), a.etcdFlags(), o.Listen, port)
	a.procs = make([]*proc.Proc, 1, 2)
	if err := a.Start(ctx); err != nil {
		return nil, err
	}
	if o.Controllers {
		flags := append(controllerManagerFlags(a.pkiDir(), a.Kubeconfig), "--secure-port=0") // or only one such API could be on this machine
		p, err := a.launch("kube-controller-manager", flags)
		a.procs = append(a.procs, p)
		return a, err
	}
	return a, nil
}

// Kill ends kube-apiserver at once, as a crash does. Start brings it back.
func (a *API) Kill() error { return a.procs[0].Kill() }

// Start starts kube-apiserver and waits until it is ready.
func (a *API) Start(ctx context.Context) (err error) {
	if a.procs[0], err = a.launch("kube-apiserver", a.serve); err != nil {
		return err
	}
	return a.waitReady(ctx)
}

func (a *API) pkiDir() string { return filepath.Join(a.Dir, "pki") }

func (a *API) etcdFlags() []string {
	return []string{"--etcd-servers=" + a.etcd.Endpoints()[0], "--etcd-cafile=" + a.etcd.CA, "--etcd-certfile=" + a.etcd.ClientCert,
		"--etcd-keyfile=" + a.etcd.ClientKey}
}

// prepare chooses a port and writes certificates and the administrator's kubeconfig.
func (a *API) prepare(listen string) (port string, err error) {
	ports, err := proc.FreePorts(1)
	if err != nil {
		return "", err
	}
	port = strconv.Itoa(ports[0])
	if a.PKI, err = NewPKI(); err != nil {
		return "", err
	}
	a.Server, a.Kubeconfig = "https://"+net.JoinHostPort(listen, port), filepath.Join(a.Dir, "admin.conf")
	text, err := a.PKI.Kubeconfig(a.Server, Admin)
	if err != nil {
		return "", err
	}
	return port, errors.Join(a.PKI.Write(a.pkiDir(), listen), os.WriteFile(a.Kubeconfig, text, 0o600))
}

func (a *API) launch(program string, flags []string) (*proc.Proc, error) {
	log, err := os.OpenFile(filepath.Join(a.Dir, program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(a.set.Program(program), flags...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = a.Dir, log, log
	return proc.Start(cmd, false)
}

// waitReady asks the API until it says that it is ready and that its default objects are made.
func (a *API) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiReadyWithin)
	defer cancel()
	for {
		out, err := a.Kubectl(ctx, "get", "--raw", "/readyz").CombinedOutput()
		if err == nil {
			return nil
		}
		if !a.procs[0].Running() {
			return fmt.Errorf("kube-apiserver ended at once; its log ends with\n%s", tail(filepath.Join(a.Dir, "kube-apiserver.log")))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w: %s", ctx.Err(), out)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Kubectl prepares kubectl as the administrator.
func (a *API) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, a.set.Program("kubectl"), append([]string{"--kubeconfig", a.Kubeconfig}, args...)...)
}

// Stop ends everything and removes Dir. The API goes before its etcd, because it waits for it when it ends.
func (a *API) Stop() error {
	var errs []error
	for i := len(a.procs) - 1; i >= 0; i-- {
		errs = append(errs, a.procs[i].Stop())
	}
	if a.etcd != nil {
		errs = append(errs, a.etcd.Stop())
	}
	if a.Dir != "" {
		errs = append(errs, os.RemoveAll(a.Dir))
	}
	return errors.Join(errs...)
}

// tail is the end of a log.
func tail(file string) []byte {
	text, _ := os.ReadFile(file)
	return text[max(0, len(text)-4096):]
}
