package catalog_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/kube"
	"github.com/calroll/calroll/testenv/site"
)

// integrated is a cluster without a network, with an etcd for Calico beside it.
type integrated struct {
	*hosted
	old []*testenv.Host // nodes with kubelet 1.23 and dockershim; the others have containerd
}

// newIntegrated raises a cluster whose old kubelets lack the CNI flags, as kubelets that nobody but their administrator has set up do.
func newIntegrated(t *testing.T, o kube.Options) *integrated {
	t.Helper()
	h := newHostedWith(t, o)
	var err error
	if h.site, err = site.Start(t.Context(), h.lab, site.Options{Progress: func(line string) { t.Log(line) }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.site.Stop(); err != nil {
			t.Error(err)
		}
	})
	e := &integrated{hosted: h}
	// The guides' unit needs Docker, which hosts with containerd have not.
	write(t, filepath.Join(h.lab.Dir, "group_vars", "all", "style.yml"), "unit_style: seed\nfelix_env: {FELIX_HEALTHENABLED: \"true\"}\n")
	for i, host := range h.cluster.Nodes() {
		if o.Kubelets[i] == kube.Dockershim {
			e.old = append(e.old, host)
		} else {
			e.hasNoDocker(host)
		}
	}
	if o.ControlNode {
		e.hasNoDocker(h.cluster.Control)
	}
	for _, host := range e.old {
		e.sh(host, "sed -i 's/--network-plugin=cni //' /var/lib/kubelet/kubeadm-flags.env && systemctl restart kubelet")
		e.eventually(host, 2*time.Minute, "! tr '\\0' ' ' < /proc/$(pidof kubelet)/cmdline | grep network-plugin")
	}
	return e
}

func (e *integrated) hasNoDocker(host *testenv.Host) {
	e.Helper()
	write(e.T, filepath.Join(e.lab.Dir, "host_vars", host.Name+".yml"), "unit_style: hardened\nfelix_env: {}\n")
}

func (e *integrated) in(t *testing.T) *integrated { return &integrated{e.hosted.in(t), e.old} }

// patience are settings for hosts that share a busy machine.
var patience = []string{"-e", "wait_felix_seconds=300", "-e", "wait_bgp_seconds=300", "-e", "wait_node_ready_seconds=600"}

// install carries calico-etcd out.
func (e *integrated) install(args ...string) outcome {
	e.Helper()
	return e.run(exitOK, slices.Concat(patience, args)...)
}

// TestCalicoEtcdOnKubernetes takes a cluster without a network to one that carries pods and obeys policy, with units in the guides' style on nodes
// of kubelet 1.23 with dockershim, and takes it back.
func TestCalicoEtcdOnKubernetes(t *testing.T) {
	t.Parallel()
	e := newIntegrated(t, kube.Options{Kubelets: []kube.Kubelet{kube.Dockershim, kube.Dockershim, kube.Containerd}})
	bare, before := e.looks(), e.objects()
	if !t.Run("check mode alters nothing", func(t *testing.T) {
		e := e.in(t)
		e.install("--check")
		e.isAsBefore(bare, before)
	}) {
		return
	}
	ok := t.Run("install", func(t *testing.T) {
		e := e.in(t)
		if o := e.install(); testing.Verbose() {
			t.Log(o.text)
		}
	})
	if !ok {
		return
	}
	install := e.lastRun()
	t.Run("a copy of etcd is kept", func(t *testing.T) { e.in(t).isKept() })
	t.Run("hosts", func(t *testing.T) { e.in(t).hostsAreSetUp() })
	t.Run("kubelets", func(t *testing.T) { e.in(t).kubeletsUseCNI() })
	t.Run("controllers", func(t *testing.T) { e.in(t).controllersWork() })
	t.Run("a second run changes nothing", func(t *testing.T) {
		for host, changed := range e.in(t).install().changed() {
			if changed != "0" {
				t.Errorf("the second run changed %s: %s tasks", host, changed)
			}
		}
	})
	t.Run("pods", func(t *testing.T) { e.in(t).carriesTraffic() })
	t.Run("back", func(t *testing.T) {
		e := e.in(t)
		e.rollback(install)
		e.isAsBefore(bare, before)
		if got := e.nodes(); len(got) > 0 {
			t.Errorf("etcd still has the nodes %s", got)
		}
	})
}

// looks are pictures of the hosts without what container runtimes note about pods: their CNI library's cache, and dockershim's sandboxes.
func (e *integrated) looks() map[string]testenv.Snapshot {
	e.Helper()
	watch := hostedWatch
	watch.Exclude = append(slices.Clone(watch.Exclude), "/var/lib/cni", "/var/lib/dockershim")
	all := map[string]testenv.Snapshot{}
	for _, host := range e.lab.Hosts {
		s, err := host.Snapshot(e.Context(), watch)
		if err != nil {
			e.Fatal(err)
		}
		all[host.Name] = s
	}
	return all
}

// isAsBefore compares hosts and API with what they were.
func (e *integrated) isAsBefore(bare map[string]testenv.Snapshot, before []string) {
	e.Helper()
	for name, now := range e.looks() {
		if diff := bare[name].Diff(now); len(diff) > 0 {
			e.Errorf("%s is not as it was:\n  %s", name, strings.Join(diff, "\n  "))
		}
	}
	if got := e.objects(); !slices.Equal(got, before) {
		e.Errorf("the API is not as it was: %s", difference(before, got))
	}
}

// isKept looks for the copy of etcd that the run made.
func (e *integrated) isKept() {
	files, err := filepath.Glob(filepath.Join(e.lab.Dir, "calroll-backups", "*", "etcd.db"))
	if err != nil || len(files) != 1 {
		e.Fatalf("the copies are %v, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
		e.Errorf("the copy is %v, %v", info, err)
	}
}

// hostsAreSetUp looks at units, files and sessions without calroll.
func (e *integrated) hostsAreSetUp() {
	for _, h := range e.lab.Hosts {
		e.sh(h, "systemctl is-active calico-node && systemctl is-enabled calico-node")
		if got := e.sh(h, "calicoctl node status"); strings.Count(got, "Established") != len(e.lab.Hosts)-1 {
			e.Errorf("%s has not all BGP sessions:\n%s", h.Name, got)
		}
		e.sh(h, "CNI_COMMAND=VERSION /opt/cni/bin/loopback < /dev/null | grep -q supportedVersions")
	}
	for _, h := range append([]*testenv.Host{e.cluster.Control}, e.old...) {
		unit := e.sh(h, "cat /etc/systemd/system/calico-node.service")
		for _, want := range []string{"ExecStart=/usr/bin/docker run --net=host --privileged --name=calico-node", "-e NODENAME=%H", "calico/node:v3.28.5", "Restart=always", "RestartSec=10"} {
			if !strings.Contains(unit, want) {
				e.Errorf("%s: the unit lacks %q:\n%s", h.Name, want, unit)
			}
		}
		if got := e.sh(h, imageOf); !strings.HasSuffix(got, "calico/node:v3.28.5") {
			e.Errorf("%s runs %s", h.Name, got)
		}
	}
	for _, h := range e.cluster.Nodes() {
		if got := e.sh(h, "ls /etc/cni/net.d"); got != "10-calico.conflist\ncalico-kubeconfig" {
			e.Errorf("%s has the CNI files %q", h.Name, got)
		}
		if got := e.sh(h, e.cluster.Program("kubectl")+" --kubeconfig /etc/cni/net.d/calico-kubeconfig auth whoami -o jsonpath={.status.userInfo.username}"); got != "calico-cni" {
			e.Errorf("%s: the plugin is %q to Kubernetes", h.Name, got)
		}
	}
}

// kubeletsUseCNI looks at the arguments that the guides want, where they are arguments, and at the nodes.
func (e *integrated) kubeletsUseCNI() {
	for _, h := range e.old {
		got := e.sh(h, "tr '\\0' ' ' < /proc/$(pidof kubelet)/cmdline")
		for _, want := range []string{"--network-plugin=cni", "--cni-conf-dir=/etc/cni/net.d", "--cni-bin-dir=/opt/cni/bin"} {
			if strings.Count(got, want) != 1 {
				e.Errorf("%s: the kubelet has not once %s: %s", h.Name, want, got)
			}
		}
	}
	if got := e.sh(e.cluster.Nodes()[2], "tr '\\0' ' ' < /proc/$(pidof kubelet)/cmdline"); strings.Contains(got, "cni") {
		e.Errorf("a kubelet of today has flags that are gone: %s", got)
	}
	if err := e.cluster.WaitReady(e.Context()); err != nil {
		e.Error(err)
	}
}

// controllersWork: the Deployment runs under the account that its rights are given to.
func (e *integrated) controllersWork() {
	got := e.kubectl("-n", "kube-system", "get", "deployment", "calico-kube-controllers", "-o",
		"jsonpath={.spec.template.spec.serviceAccountName} {.status.availableReplicas} {.spec.template.spec.hostNetwork}")
	if got != "calico-kube-controllers 1 true" {
		e.Errorf("the controllers are %q", got)
	}
	for rights, want := range map[string]string{"list pods": "yes", "list secrets": "no"} {
		args := append([]string{"auth", "can-i", "--as", "system:serviceaccount:kube-system:calico-kube-controllers"}, strings.Fields(rights)...)
		got, _ := e.cluster.Kubectl(e.Context(), args...) // no is an exit code as well
		if want == "yes" && !strings.HasPrefix(got, "yes") || want == "no" && strings.HasPrefix(got, "yes") {
			e.Errorf("may the controllers %s? %q", rights, got)
		}
	}
}

// carriesTraffic starts pods, looks for their addresses in etcd, sends requests between nodes, and closes and opens the way.
func (e *integrated) carriesTraffic() {
	a, b := e.reach(" proto bird")
	for _, p := range []*kube.Pod{a, b} {
		key := "/calico/resources/v3/projectcalico.org/workloadendpoints/default/" + p.Host.Name + "-k8s-" + p.Name + "-eth0"
		out, err := e.site.Etcd.Command(e.Context(), "get", key, "--print-value-only").Output()
		if err != nil || !strings.Contains(string(out), p.Address+"/32") {
			e.Errorf("etcd does not have the address %s of %s at %s: %s, %v", p.Address, p.Name, key, out, err)
		}
		if got := e.sh(p.Host, "calicoctl ipam show --ip="+p.Address+" --config=/etc/calico/calicoctl.cfg"); !strings.Contains(got, "in use") {
			e.Errorf("the address of %s is not one of Calico's IPAM: %s", p.Name, got)
		}
	}
	if got := e.sh(a.Host, "ip -d link show type ipip type vxlan 2>/dev/null; ip route get "+b.Address); strings.Contains(got, "tunl0") || strings.Contains(got, "vxlan") {
		e.Errorf("packets are encapsulated: %s", got)
	}
	e.policy(a, b)
}
