//go:build nightly

package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
	"github.com/calroll/calroll/testenv/site"
)

// opsSettings go with every run: nobody serves the release's files here, and a drain need not wait for pods that hang.
var opsSettings = []string{"-e", "pool_encap=off", "-e", "with_calicoctl=false", "-e", "typha=on", "-e", "drain_grace_seconds=10"}

// opsStay is a pod that a drain of its node may not move.
const opsStay = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: stay, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: stay}}
  template:
    metadata: {labels: {app: stay}}
    spec:
      nodeSelector: {kubernetes.io/hostname: NODE}
      terminationGracePeriodSeconds: 1
      containers: [{name: pod, image: IMAGE, imagePullPolicy: Never}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: stay, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: stay}}}
`

// TestOperations takes a running cluster to a newer release whose Typha does not start before the nodes have changed, while pods on every pair of nodes
// keep asking each other. The upgrade is taken back by hand, a node goes, and joins again. TestCalicoKDD upgrades where nothing or a node fails.
func TestOperations(t *testing.T) {
	t.Parallel()
	h := newHostedWith(t, kube.Options{Kubelets: []kube.Kubelet{kube.Containerd, kube.Containerd, kube.Containerd}, Calico: site.Versions})
	h.playbook(exitOK, "calico-kdd", "-e", "calico_version="+opsFrom, "--skip-tags", "S-30")
	p := h.works()
	_ = t.Run("upgrade", func(t *testing.T) { h.in(t).upgradesWithoutTypha(p) }) &&
		t.Run("once more", func(t *testing.T) { h.in(t).settles("upgrade", "-e", "to_version="+opsTo) }) &&
		t.Run("rollback", func(t *testing.T) { h.in(t).takesUpgradeBack(p) }) &&
		t.Run("refusals", func(t *testing.T) { h.in(t).refusesToRemove() }) &&
		t.Run("disruption budget", func(t *testing.T) { h.in(t).leavesWhatStays() }) &&
		t.Run("node-remove", func(t *testing.T) { h.in(t).removesNode() }) &&
		t.Run("node-add", func(t *testing.T) { h.in(t).addsNode() })
}

// settles: a playbook that has nothing to do changes nothing. The network was tried with pods just before.
func (h *hosted) settles(name string, args ...string) {
	h.Helper()
	for host, changed := range h.playbook(exitOK, name, append(args, "--skip-tags", "S-30")...).changed() {
		if changed != "0" {
			h.Errorf("the second run of %s changed %s: %s tasks", name, host, changed)
		}
	}
}

// playbook carries a playbook out and demands an exit code.
func (h *hosted) playbook(code int, name string, args ...string) outcome {
	h.Helper()
	return h.carry(code, name, slices.Concat(opsSettings, args)...)
}

// upgradesWithoutTypha rolls the cluster to the newer release, whose Typha does not start at first, so that it has to wait for the nodes.
func (h *hosted) upgradesWithoutTypha(p probes) {
	h.Helper()
	typha := artifacts.ImageTag(artifacts.TyphaImage, opsTo)
	for _, node := range h.cluster.Nodes() {
		h.sh(node, spoil(typha))
	}
	mended := make(chan error, 1)
	go func() { mended <- h.mendTypha(typha) }()
	o := h.upgrades(p, slices.Concat(opsSettings, []string{"-e", "upgrade_typha_order=typha-first", "-e", "wait_rollout_seconds=45"})...)
	if err := <-mended; err != nil {
		h.Fatal(err)
	}
	h.says(o, opsTyphaBack)
}

// mendTypha waits until Typha has gone to the newer release and back, and then has its image be what it says.
func (h *hosted) mendTypha(image string) error {
	for _, release := range []string{opsTo, opsFrom} {
		is := "--for=jsonpath={.spec.template.spec.containers[0].image}=docker.io/" + artifacts.ImageTag(artifacts.TyphaImage, release)
		if _, err := h.cluster.Kubectl(h.Context(), "-n", "kube-system", "wait", "deployment/calico-typha", is, "--timeout", "5m"); err != nil {
			return err
		}
	}
	for _, node := range h.cluster.Nodes() {
		if _, err := node.Sh(h.Context(), mend(image)); err != nil {
			return err
		}
	}
	return nil
}

// takesUpgradeBack goes back by hand: the run before the last one was the upgrade, the last one changed nothing.
func (h *hosted) takesUpgradeBack(p probes) {
	h.Helper()
	began := time.Now()
	h.rollback(h.runs()[len(h.runs())-2])
	h.runsOn(opsFrom)
	h.oneAfterTheOther(p, began)
}

// refusesToRemove asks for what would leave too little.
func (h *hosted) refusesToRemove() {
	h.Helper()
	nodes := h.cluster.Nodes()
	typha := strings.Fields(h.kubectl("-n", "kube-system", "get", "pods", "-l", "k8s-app=calico-typha", "-o", "jsonpath={.items[*].spec.nodeName}"))
	for _, c := range []struct {
		says string
		args []string
	}{
		{"with --limit", nil},
		{"belongs to the control plane", []string{"--limit", h.cluster.Control.Name}},
		{"G-23 stop on the cluster:", []string{"--limit", nodes[2].Name, "-e", fmt.Sprintf(`{"rr_hosts": [%q, %q]}`, nodes[1].Name, nodes[2].Name)}},
		{"G-21 stop on the cluster:", []string{"--limit", strings.Join(typha, ",")}},
	} {
		h.says(h.playbook(exitFailed, "node-remove", c.args...), c.says)
	}
	h.runsOn(opsFrom)
}

// leavesWhatStays has a pod on the third node that a disruption budget holds: the node keeps its place, and the pod.
func (h *hosted) leavesWhatStays() {
	h.Helper()
	host := h.cluster.Nodes()[2]
	h.apply(strings.ReplaceAll(opsStay, "NODE", host.Name))
	h.kubectl("rollout", "status", "deployment/stay", "--timeout", "3m")
	before := h.left(host)
	o := h.playbook(exitFailed, "node-remove", "--limit", host.Name, "-e", "drain_timeout_seconds=5")
	h.says(o, "cannot take "+host.Name+" out of service", "The disruption budget stay needs 1 healthy pods and has 1 currently", "takes pods again")
	if testing.Verbose() {
		h.Log(o.text)
	}
	if now := h.left(host); now != before {
		h.Errorf("%s had\n%s\nand has now\n%s", host.Name, before, now)
	}
	h.runsOn(opsFrom)
	h.kubectl("delete", "deployment/stay", "poddisruptionbudget/stay", "--cascade=foreground", "--timeout", "1m")
}

// left is what a host and the API have of a node that nobody took away, without what comes and goes with pods that move.
func (h *hosted) left(host *testenv.Host) string {
	h.Helper()
	return h.kubectl("get", "pods", "-l", "app in (probe, stay)", "-o", "name", "--field-selector", "spec.nodeName="+host.Name) + "\n" +
		h.kubectl("get", "node", host.Name, "-o", `jsonpath={.metadata.uid} {.metadata.annotations.calroll\.io/cordoned-by} {.spec}`) + "\n" +
		h.sh(host, "systemctl is-active kubelet; find /etc/cni /opt/cni /var/lib/calico /etc/sysctl.d | sort")
}

// removesNode takes the third node away, and looks for what is left of it.
func (h *hosted) removesNode() {
	h.Helper()
	host := h.cluster.Nodes()[2]
	o := h.playbook(exitOK, "node-remove", "--limit", host.Name)
	if testing.Verbose() {
		h.Log(o.text)
	}
	for _, kinds := range []string{"nodes", "blockaffinities.crd.projectcalico.org", "pods --all-namespaces --field-selector=spec.nodeName=" + host.Name} {
		if got := h.kubectl(append([]string{"get", "-o", "name"}, strings.Fields(kinds)...)...); strings.Contains(got, host.Name) || strings.HasPrefix(kinds, "pods") && got != "" {
			h.Errorf("%s still has %s", kinds, got)
		}
	}
	left := `{ ls -d /etc/cni/net.d/* /var/lib/calico /var/run/calico /opt/cni/bin/calico; ip -o link | grep cali; ip route show proto bird; iptables-save | grep 'cali[-:]'; ipset list -n | grep cali
pgrep -a -f '[c]alico-node -'; systemctl is-enabled kubelet | grep -x enabled; } 2>/dev/null || true`
	if got := h.sh(host, left); got != "" {
		h.Errorf("%s still has\n%s", host.Name, got)
	}
	for _, other := range h.cluster.Nodes()[:2] {
		h.eventually(other, time.Minute, "! ip route show proto bird | grep -wF "+host.Address.String()) // the peer takes them away a moment later
	}
}

// addsNode has the host join again, with what another life would have left on it.
func (h *hosted) addsNode() {
	h.Helper()
	host := h.cluster.Nodes()[2]
	h.formerLife(host)
	h.sh(host, "systemctl enable --now kubelet")
	h.eventually(h.cluster.Control, 3*time.Minute, "kubectl get node "+host.Name)
	o := h.playbook(exitOK, "node-add", "--limit", host.Name)
	if testing.Verbose() {
		h.Log(o.text)
	}
	if got := h.sh(host, "ls /etc/cni/net.d; cat /var/lib/calico/nodename"); got != "10-calico.conflist\ncalico-kubeconfig\n"+host.Name {
		h.Errorf("%s has the files and the name\n%s", host.Name, got)
	}
	h.runsOn(opsFrom)
	h.reach(" proto bird")
	h.settles("node-add", "--limit", host.Name)
}

// formerLife puts Calico's files of another node on a host.
func (h *hosted) formerLife(host *testenv.Host) {
	h.Helper()
	err := host.WriteFiles(h.Context(),
		testenv.File{Path: "/var/lib/calico/nodename", Mode: 0o644, Content: []byte("former")},
		testenv.File{Path: "/etc/cni/net.d/10-calico.conf", Mode: 0o644, Content: []byte(`{"name": "x", "cniVersion": "0.3.1", "type": "calico", "nodename": "former"}`)})
	if err != nil {
		h.Fatal(err)
	}
}
