// Package site gives a lab what the Calico playbooks need around their hosts: an etcd cluster and a server of release files.
//
// Both listen on the lab's gateway, so hosts reach them as they would reach an etcd cluster and the upstream's download site. Start writes
// where they are into the lab's inventory; a playbook runs against the lab as it would against real hosts, and only variables differ. A Site that is
// kept outlives the program that started it, until Stop.
package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
)

// Versions are the Calico versions that a site offers: the older one is the newer one's source under another version stamp, which is all that an
// upgrade in a lab needs.
var Versions = []string{"v3.28.5", "v3.28.4"}

// Options of Start.
type Options struct {
	// ServerCommand starts a process that serves the files, when the site is kept; "%s" in an argument is the address to listen on.
	ServerCommand []string
	Progress      func(line string)
}

// Site is an etcd cluster and a file server beside a lab.
type Site struct {
	Etcd   *artifacts.Etcd
	URL    string // of the file server, without a slash at the end
	Sets   []*artifacts.Set
	lab    *testenv.Lab
	server *artifacts.Server // in this process; nil when kept
}

// Build builds or finds everything that a site offers.
func Build(ctx context.Context, progress func(string)) ([]*artifacts.Set, error) {
	var sets []*artifacts.Set
	for i, v := range Versions {
		request := artifacts.ForNodes()
		if i > 0 {
			request = artifacts.ForUpgrade(v)
		}
		set, err := artifacts.Build(ctx, request, artifacts.Options{Progress: progress})
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// Start gives lab an etcd with TLS and a file server, and writes where they are into its inventory.
func Start(ctx context.Context, lab *testenv.Lab, o Options) (_ *Site, err error) {
	s := &Site{lab: lab}
	if s.Sets, err = Build(ctx, o.Progress); err != nil {
		return nil, err
	}
	keep := len(o.ServerCommand) > 0
	s.Etcd, err = artifacts.StartEtcd(ctx, artifacts.EtcdOptions{Programs: s.Sets[0], Listen: lab.Gateway.String(), TLS: true, Dir: etcdDir(lab, keep), Keep: keep})
	if err != nil {
		return nil, err
	}
	if keep {
		err = s.serveApart(o.ServerCommand)
	} else {
		err = s.serveHere()
	}
	if err == nil {
		err = lab.SetVars(s.vars())
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func etcdDir(lab *testenv.Lab, keep bool) string {
	if !keep {
		return ""
	}
	return filepath.Join(lab.Dir, "etcd")
}

func (s *Site) serveHere() error {
	server, err := artifacts.Serve(net.JoinHostPort(s.lab.Gateway.String(), "0"), s.Sets...)
	if err != nil {
		return err
	}
	s.server, s.URL = server, server.URL()
	return nil
}

// kept is what another process needs to stop a file server.
type kept struct {
	PID int    `json:"pid"`
	URL string `json:"url"`
}

func keptFile(lab *testenv.Lab) string { return filepath.Join(lab.Dir, "server.json") }

// IsKept tells whether lab has a site that outlives the program that started it.
func IsKept(lab *testenv.Lab) bool {
	_, err := os.Stat(keptFile(lab))
	return err == nil
}

// serveApart starts the file server as a process of its own.
func (s *Site) serveApart(command []string) error {
	address, err := freeAddress(s.lab.Gateway.String())
	if err != nil {
		return err
	}
	args := make([]string, len(command))
	for i, a := range command {
		args[i] = strings.ReplaceAll(a, "%s", address)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the file server: %w", err)
	}
	s.URL = "http://" + address
	text, err := json.Marshal(kept{cmd.Process.Pid, s.URL})
	if err == nil {
		err = os.WriteFile(keptFile(s.lab), text, 0o600)
	}
	return errors.Join(err, waitFor(address))
}

func freeAddress(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("cannot find a port for the file server: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// waitFor waits until somebody listens at address.
func waitFor(address string) error {
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", address, time.Second); err == nil {
			return c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("cannot reach the file server at %s: %w", address, err)
}

// Stop ends etcd and the file server.
func (s *Site) Stop() error {
	var errs []error
	if s.Etcd != nil {
		errs = append(errs, s.Etcd.Stop())
	}
	if s.server != nil {
		errs = append(errs, s.server.Close())
	} else {
		errs = append(errs, stopKept(s.lab))
	}
	return errors.Join(errs...)
}

// StopKept ends what Start left running for a lab, and removes its data; a lab without a site is no error.
func StopKept(lab *testenv.Lab) error {
	err := stopKept(lab)
	dir := etcdDir(lab, true)
	if _, statErr := os.Stat(dir); statErr != nil {
		return err
	}
	e, openErr := artifacts.OpenEtcd(dir)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	if stopErr := e.Stop(); stopErr != nil {
		return errors.Join(err, stopErr)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// stopKept ends the kept file server, if that process is still what was started.
func stopKept(lab *testenv.Lab) error {
	text, err := os.ReadFile(keptFile(lab))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		return fmt.Errorf("cannot stop the file server: %w", err)
	}
	address := strings.TrimPrefix(k.URL, "http://")
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", k.PID))
	if err == nil && strings.Contains(string(argv), address) {
		err = syscall.Kill(k.PID, syscall.SIGTERM)
	}
	return errors.Join(ignore(err), os.Remove(keptFile(lab)))
}

// ignore passes over a process that has ended already.
func ignore(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// steadySeconds is how long a unit has to stay up before a lab believes it, instead of the playbook's 15.
const steadySeconds = 5

// vars are the inventory variables of the site: where upstream's files and the etcd cluster are, and what this kernel cannot do.
func (s *Site) vars() map[string]any {
	sums := map[string]any{}
	var images []any
	for i, set := range s.Sets {
		for _, f := range set.Files() {
			sums[f.URL] = f.SHA256
		}
		if f, ok := set.File("images/calico-node-" + Versions[i] + ".tar"); ok {
			images = append(images, map[string]any{"image": artifacts.ImageTag(artifacts.NodeImage, Versions[i]), "url": s.URL + "/" + f.URL, "sha256": f.SHA256})
		}
	}
	return map[string]any{
		"etcd_endpoints": s.Etcd.Endpoints(), "etcd_ca_file": s.Etcd.CA, "etcd_cert_file": s.Etcd.ClientCert, "etcd_key_file": s.Etcd.ClientKey,
		"artifact_base_url": s.URL, "checksums": sums, "image_delivery": "preload", "image_archives": images,
		"pool_encap": "off", "unit_steady_seconds": steadySeconds,
	}
}
