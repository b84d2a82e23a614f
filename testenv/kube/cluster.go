package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/pki"
)

// Kubelet is what makes a host a node: a version of the kubelet, and the container runtime that it works with.
type Kubelet string

// The kubelets that a lab has.
const (
	Containerd Kubelet = artifacts.KubernetesVersion        // of the cluster's own version, with containerd; no Docker engine runs beside it
	Dockershim Kubelet = artifacts.KubeletDockershimVersion // the last one with dockershim, with the host's Docker engine
)

// ParseKubelet finds the kubelet of a version such as 1.23, v1.23 or 1.23.17.
func ParseKubelet(version string) (Kubelet, error) {
	for _, k := range []Kubelet{Containerd, Dockershim} {
		if isVersion(string(k), version) {
			return k, nil
		}
	}
	return "", fmt.Errorf("cannot have a kubelet %s: a lab has %s and %s", version, Containerd, Dockershim)
}

// CheckVersion is an error unless a lab's control plane can be of the version, such as 1.29 or v1.29.15.
func CheckVersion(version string) error {
	if isVersion(artifacts.KubernetesVersion, version) {
		return nil
	}
	return fmt.Errorf("cannot have Kubernetes %s: a lab has %s", version, artifacts.KubernetesVersion)
}

// isVersion tells whether full is version, or one of its patches.
func isVersion(full, version string) bool {
	version = "v" + strings.TrimPrefix(version, "v")
	return full == version || strings.Count(version, ".") == 1 && strings.HasPrefix(full, version+".")
}

// Options say what cluster to raise.
type Options struct {
	// Kubelets has one for each node; empty means one node with Containerd.
	Kubelets []Kubelet

	// Calico is the versions of Calico whose images the nodes have already; empty means artifacts.CalicoVersion.
	Calico []string

	// Flannel has the nodes have flannel's image too.
	Flannel bool

	// CNX has the nodes have the stand-ins of CNX 2.0.2 too.
	CNX bool

	// ControlNode makes the host of the control plane a node too, with Containerd, so that it has routes to pods.
	ControlNode bool
}

func (o *Options) complete() {
	if len(o.Kubelets) == 0 {
		o.Kubelets = []Kubelet{Containerd}
	}
	if len(o.Calico) == 0 {
		o.Calico = []string{artifacts.CalicoVersion}
	}
}

// Cluster is a lab whose hosts are a Kubernetes cluster without a network: a control plane on a host of its own, and nodes.
type Cluster struct {
	Lab     *testenv.Lab
	Control *testenv.Host // etcd, kube-apiserver, kube-controller-manager, kube-scheduler as units; no kubelet unless it was asked for
	Server  string        // URL of the API, reachable from this machine too
	PKI     *PKI

	sets  []*artifacts.Set // one for each version of Calico
	admin *client
}

// folder is where every host sees the cache of programs and images.
const folder = "/srv/lab"

// Build builds or finds the programs and images of a cluster. The first time takes many minutes.
func Build(ctx context.Context, o Options, progress func(string)) ([]*artifacts.Set, error) {
	o.complete()
	var sets []*artifacts.Set
	for _, version := range o.Calico {
		request := artifacts.ForCluster(version)
		if o.Flannel {
			request.Parts = append(request.Parts, artifacts.FlannelImage)
		}
		if o.CNX {
			request.Parts = append(request.Parts, artifacts.ForCNX()...)
		}
		set, err := artifacts.Build(ctx, request, artifacts.Options{Progress: progress})
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// Start makes a lab and raises a cluster on it. lo.Hosts does not count. If it fails it has taken the lab away again.
func Start(ctx context.Context, lo testenv.Options, o Options) (*Cluster, error) {
	o.complete()
	sets, err := Build(ctx, o, lo.Progress)
	if err != nil {
		return nil, err
	}
	lab, err := testenv.Start(ctx, labOptions(lo, o, sets))
	if err != nil {
		return nil, err
	}
	c, err := raise(ctx, lab, o, sets)
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(err, lab.Down(undo))
	}
	return c, nil
}

// labOptions completes the options of a cluster's lab.
func labOptions(lo testenv.Options, o Options, sets []*artifacts.Set) testenv.Options {
	lo.ControlPlane, lo.Hosts = true, len(o.Kubelets)
	lo.Binds = append(slices.Clone(lo.Binds), sets[0].Cache()+":"+folder+":ro")
	return lo
}

// raise makes the hosts of a new lab a cluster: all at the same time, except that kubelets start when the API is there.
func raise(ctx context.Context, lab *testenv.Lab, o Options, sets []*artifacts.Set) (*Cluster, error) {
	c := &Cluster{Lab: lab, Control: lab.Hosts[0], sets: sets}
	c.Server = "https://" + c.Control.Address.String() + ":" + apiPort
	if err := c.makeAuthorities(); err != nil {
		return nil, err
	}
	g, all := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	g.Go(func() error {
		defer close(ready)
		return c.startControlPlane(all)
	})
	if o.ControlNode {
		g.Go(func() error { return c.makeNode(all, c.Control, Containerd, ready) })
	}
	for i, h := range lab.Hosts[1:] {
		g.Go(func() error { return c.makeNode(all, h, o.Kubelets[i], ready) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := c.waitControllers(ctx); err != nil {
		return nil, err
	}
	return c, lab.SetVars(map[string]any{"pool_cidr": ClusterCIDR,
		"smoke_test": map[string]any{"image": artifacts.ImageTag(artifacts.PodImage, ""), "command": []string{"/pod", "serve"}, "get": []string{"/pod", "get"}}})
}

// makeAuthorities makes the certificates that come before all others, and this machine's way in.
func (c *Cluster) makeAuthorities() (err error) {
	if c.PKI, err = NewPKI(); err != nil {
		return err
	}
	pair, err := c.PKI.CA.Issue(Admin)
	if err != nil {
		return err
	}
	if c.admin, err = newClient(c.Server, c.PKI.CA.CertPEM(), pair); err != nil {
		return err
	}
	text, err := kubeconfig(c.Server, c.PKI.CA.CertPEM(), Admin.Name, pair)
	if err != nil {
		return err
	}
	return os.WriteFile(c.Lab.KubeconfigFile(), text, 0o600)
}

// Nodes are the hosts that are nodes, without that of the control plane.
func (c *Cluster) Nodes() []*testenv.Host { return c.Lab.Hosts[1:] }

// AddNode makes a host more and has it join, with all that the first nodes have. It returns once the API has the node.
func (c *Cluster) AddNode(ctx context.Context, k Kubelet) (*testenv.Host, error) {
	if err := c.Lab.Add(ctx, 1); err != nil {
		return nil, err
	}
	h := c.Lab.Hosts[len(c.Lab.Hosts)-1]
	ready := make(chan struct{})
	close(ready)
	return h, c.makeNode(ctx, h, k, ready)
}

// RemoveNode takes a node's host away, as if somebody had carried it out, and then forgets its Node object.
func (c *Cluster) RemoveNode(ctx context.Context, h *testenv.Host) error {
	if err := c.Lab.RemoveHost(ctx, h); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "delete", "node", h.Name, "--ignore-not-found")
	return err
}

// Program is the path on every host of a program that the lab has built, such as bridge or calicoctl's; empty if there is none.
func (c *Cluster) Program(name string) string {
	for _, set := range c.sets {
		if path := set.Program(name); path != "" {
			return onHost(set, path)
		}
	}
	return ""
}

// onHost is the path on every host of a file in the cache.
func onHost(set *artifacts.Set, path string) string {
	return filepath.Join(folder, strings.TrimPrefix(path, set.Cache()))
}

// link is a shell command that gives programs their usual names below /usr/bin.
func (c *Cluster) link(programs ...string) string {
	var script strings.Builder
	for _, p := range programs {
		name := p
		if p == "kubelet-dockershim" {
			name = "kubelet"
		}
		fmt.Fprintf(&script, "ln -sf %s /usr/bin/%s\n", c.Program(p), name)
	}
	return script.String()
}

// issued makes a certificate and its key for a host's files; an error comes out of the list of errors that it joins.
func issued(ca *pki.Authority, s pki.Subject, base string) ([]testenv.File, error) {
	pair, err := ca.Issue(s)
	return []testenv.File{{Path: base + ".key", Mode: 0o600, Content: pair.Key}, {Path: base + ".crt", Mode: 0o644, Content: pair.Cert}}, err
}
