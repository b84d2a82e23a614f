package catalog_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/kube"
	"github.com/calroll/calroll/testenv/site"
)

// hosted is a cluster without a network, and calroll to give it one.
type hosted struct {
	*network
	cluster *kube.Cluster
	rules   bool // pictures of the hosts have the rules of iptables too
}

// oneCluster is held while there is a cluster. Beside a second one, probes of the kubelets run out of their time on two cores, and what is restarted
// for that takes the rest. Hosts without Kubernetes have room beside one.
var oneCluster sync.Mutex

// raise starts a cluster when there is none, for as long as the test goes.
func raise(t *testing.T, o kube.Options) *kube.Cluster {
	t.Helper()
	oneCluster.Lock()
	t.Cleanup(oneCluster.Unlock)
	return kube.ForTest(t, o)
}

func newHosted(t *testing.T, kubelets ...kube.Kubelet) *hosted {
	t.Helper()
	return newHostedWith(t, kube.Options{Kubelets: kubelets})
}

func newHostedWith(t *testing.T, o kube.Options) *hosted {
	t.Helper()
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c := raise(t, o)
	return &hosted{network: &network{T: t, lab: c.Lab, exe: exe}, cluster: c}
}

// kdd carries calico-kdd out and demands an exit code.
func (h *hosted) kdd(code int, args ...string) outcome {
	h.Helper()
	return h.carry(code, "calico-kdd", args...)
}

func (h *hosted) kubectl(args ...string) string {
	h.Helper()
	out, err := h.cluster.Kubectl(h.Context(), args...)
	if err != nil {
		h.Fatal(err)
	}
	return out
}

// hostedWatch is what a node is compared by: what pods of Calico could leave there.
var hostedWatch = testenv.Watch{
	Paths: []string{"/etc", "/usr/local", "/opt", "/root", "/var/lib", "/var/log/calico"},
	Exclude: []string{"/var/lib/docker", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/calroll", "/var/lib/systemd", "/var/lib/etcd", "/root/.cache", "/root/.kube",
		"/etc/mtab", "/var/log/calico/cni/cni.log"}, // the kubelet takes sandboxes of the smoke test away up to a minute later
	Sysctls: []string{"net.ipv4.ip_forward"},
	Links:   true, Routes: true,
}

func (h *hosted) pictures() map[string]testenv.Snapshot {
	h.Helper()
	watch := hostedWatch
	watch.Rules = h.rules
	all := map[string]testenv.Snapshot{}
	for _, host := range h.lab.Hosts {
		s, err := host.Snapshot(h.Context(), watch)
		if err != nil {
			h.Fatal(err)
		}
		all[host.Name] = s
	}
	return all
}

// asBefore compares the hosts with what they were, but for things whose names begin so.
func (h *hosted) asBefore(before map[string]testenv.Snapshot, when string, but ...string) {
	h.Helper()
	for name, now := range h.pictures() {
		diff := slices.DeleteFunc(before[name].Diff(now), func(line string) bool {
			return slices.ContainsFunc(but, func(prefix string) bool { return strings.HasPrefix(line, prefix) })
		})
		if len(diff) > 0 {
			h.Errorf("%s is not as it was %s:\n  %s", name, when, strings.Join(diff, "\n  "))
		}
	}
}

// objects are the objects of the kinds that the playbook makes, and those kinds themselves.
func (h *hosted) objects() []string {
	h.Helper()
	return strings.Split(h.kubectl("get", "crd,clusterrole,clusterrolebinding,namespace,serviceaccount,configmap,secret,service,daemonset,deployment,poddisruptionbudget,networkpolicy,pod",
		"--all-namespaces", "--no-headers", "-o", "custom-columns=:.kind,:.metadata.namespace,:.metadata.name"), "\n")
}

// TestCalicoKDD takes a cluster whose nodes are NotReady to a network that carries pods and obeys policy, twice: over BGP without encapsulation, which is
// taken back, and over VXLAN with Typha. That is upgraded while pods on every pair of nodes keep asking each other: first it breaks on the second
// node and goes back, then it succeeds. The uninstall at last leaves hosts and API as they were.
func TestCalicoKDD(t *testing.T) {
	t.Parallel()
	h := newHostedWith(t, kube.Options{Kubelets: []kube.Kubelet{kube.Containerd, kube.Containerd, kube.Containerd}, Calico: site.Versions})
	h.rules = true
	bare, before := h.pictures(), h.objects()
	old := []string{"-e", "pool_encap=vxlan-always", "-e", "typha=on", "-e", "with_calicoctl=false", "-e", "drain_grace_seconds=10"}
	_ = t.Run("BGP", func(t *testing.T) { h.in(t).carries("calico-node", " proto bird", "-e", "pool_encap=off") }) &&
		t.Run("back", func(t *testing.T) { h.in(t).takesBack(bare, before) }) &&
		t.Run("VXLAN", func(t *testing.T) {
			h.in(t).carries("calico-node", " dev vxlan.calico ", append(old, "-e", "calico_version="+opsFrom)...)
		}) &&
		t.Run("upgrade", func(t *testing.T) { h.in(t).goesOn(old...) }) &&
		t.Run("uninstall", func(t *testing.T) { h.in(t).goes(bare, before) })
}

// goesOn upgrades what pods use.
func (h *hosted) goesOn(settings ...string) {
	p := h.works()
	_ = h.Run("broken", func(t *testing.T) { h.in(t).breaksUpgrade(p, settings...) }) &&
		h.Run("whole", func(t *testing.T) { h.in(t).upgrades(p, settings...) })
	h.kubectl("delete", "daemonset/probe", "deployment/web", "poddisruptionbudget/web", "--cascade=foreground", "--timeout", "3m")
}

// in is h for a subtest.
func (h *hosted) in(t *testing.T) *hosted {
	n := *h.network
	n.T = t
	return &hosted{&n, h.cluster, h.rules}
}

// hasNoNetwork waits until a node says so: a kubelet takes its time to see that the network was taken back.
func (h *hosted) hasNoNetwork() {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 2*time.Minute)
	defer cancel()
	if err := h.cluster.WaitNode(ctx, h.cluster.Nodes()[0].Name, "Ready", "False"); err != nil {
		h.Fatalf("the node is Ready before there is a network: %v", err)
	}
}

// carries installs Calico, whose DaemonSet has that name, and looks at the network without calroll.
func (h *hosted) carries(daemonset, route string, settings ...string) {
	h.Helper()
	h.hasNoNetwork()
	settings = append(settings, "-e", "with_calicoctl=false") // nobody serves the release's files here
	o := h.kdd(exitOK, settings...)
	if testing.Verbose() {
		h.Log(o.text)
	}
	if err := h.cluster.WaitReady(h.Context()); err != nil {
		h.Fatal(err)
	}
	h.inOrder(daemonset)
	for host, changed := range h.kdd(exitOK, append(settings, "--skip-tags", "S-30")...).changed() { // what pods say comes next, without calroll
		if changed != "0" {
			h.Errorf("the second run changed %s: %s tasks", host, changed)
		}
	}
	h.policy(h.reach(route))
}

// inOrder looks at when objects were made: rights before what needs them, kinds before what speaks of them.
func (h *hosted) inOrder(daemonset string) {
	h.Helper()
	made := func(kind, name string) string {
		return h.kubectl("-n", "kube-system", "get", kind, name, "-o", "jsonpath={.metadata.creationTimestamp}{.metadata.uid}")[:20]
	}
	role, crd, ds := made("clusterrole", "calico-node"), made("crd", "ippools.crd.projectcalico.org"), made("daemonset", daemonset)
	if role > crd || crd > ds {
		h.Errorf("made in a wrong order: ClusterRole %s, kinds %s, DaemonSet %s", role, crd, ds)
	}
}

// reach starts a pod on each of two nodes, which must reach each other over the kind of route that is asked for.
func (h *hosted) reach(route string) (a, b *kube.Pod) {
	h.Helper()
	var pods []*kube.Pod
	for i, name := range []string{"a", "b"} {
		p, err := h.cluster.StartPod(h.Context(), name, kube.PodOptions{Node: h.cluster.Nodes()[i].Name})
		if err != nil {
			h.Fatal(err)
		}
		h.Cleanup(func() {
			if err := p.Delete(context.WithoutCancel(h.Context())); err != nil { // a test's context has ended by then
				h.Error(err)
			}
		})
		pods = append(pods, p)
	}
	a, b = pods[0], pods[1]
	h.answers(a, b, true)
	h.answers(b, a, true)
	taken := h.sh(a.Host, "ip route get "+b.Address+"; ip route show match "+b.Address+" | grep -v ^default")
	if !strings.Contains(taken, route) {
		h.Errorf("packets to %s go another way than %q:\n%s", b.Address, route, taken)
	}
	return a, b
}

// answers waits until a pod answers another one, or does not any more.
func (h *hosted) answers(from, to *kube.Pod, want bool) {
	h.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err = from.Get(h.Context(), to.URL()); (err == nil) == want {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("%s reaches %s: %v (%v), want %v", from.Name, to.Name, err == nil, err, want)
		}
	}
}

const denyAll = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all, namespace: default}
spec: {podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}
`

const allowA = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-a, namespace: default}
spec: {podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}
`

// policy closes the way between two pods and opens it again.
func (h *hosted) policy(a, b *kube.Pod) {
	h.Helper()
	for _, step := range []struct {
		policy string
		open   bool
	}{{denyAll, false}, {allowA, true}} {
		if err := h.cluster.Apply(h.Context(), step.policy); err != nil {
			h.Fatal(err)
		}
		h.answers(a, b, step.open)
	}
	h.kubectl("delete", "networkpolicy", "deny-all", "allow-a")
}

// takesBack takes back the first of the last two runs, the second of which changed nothing, and compares.
func (h *hosted) takesBack(bare map[string]testenv.Snapshot, before []string) {
	h.Helper()
	h.rollback(h.runs()[len(h.runs())-2])
	h.isOff(bare, before)
}

func (c *network) uninstalls(code int, args ...string) outcome {
	c.Helper()
	return c.carry(code, "uninstall", args...)
}

// goes uninstalls with all data.
func (h *hosted) goes(bare map[string]testenv.Snapshot, before []string) {
	h.Helper()
	o := h.uninstalls(exitOK, "-e", `{"purge_data": true, "ack": ["uninstall", "purge_data"]}`)
	if testing.Verbose() {
		h.Log(o.text)
	}
	h.isOff(bare, before)
}

// isOff compares hosts and API with what they were before the install.
func (h *hosted) isOff(bare map[string]testenv.Snapshot, before []string) {
	h.Helper()
	h.asBefore(bare, "before the install")
	if got := h.objects(); !slices.Equal(got, before) {
		h.Errorf("the API is not as it was: %s", difference(before, got))
	}
}

// difference says what one list has and the other has not.
func difference(want, got []string) string {
	count := map[string]int{}
	for _, w := range want {
		count[w]--
	}
	for _, g := range got {
		count[g]++
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(count)) {
		if count[k] != 0 {
			out = append(out, fmt.Sprintf("%s %+d", k, count[k]))
		}
	}
	return strings.Join(out, ", ")
}
