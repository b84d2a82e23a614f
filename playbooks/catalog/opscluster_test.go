//go:build nightly

package catalog_test

import (
	"encoding/json"
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

// The releases that a cluster goes between.
var opsTo, opsFrom = site.Versions[0], site.Versions[1]

// opsSettings go with every run: nobody serves the release's files here, and a drain need not wait for pods that hang.
var opsSettings = []string{"-e", "pool_encap=off", "-e", "with_calicoctl=false", "-e", "typha=on", "-e", "drain_grace_seconds=10"}

// opsWork are pods that stay where they are, one on each node, and pods that a drain moves, one after the other.
const opsWork = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe, namespace: default}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: pod, image: IMAGE, imagePullPolicy: Never}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: pod, image: IMAGE, imagePullPolicy: Never}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
`

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

// TestOperations takes a running cluster with Typha to a newer release while pods on every pair of nodes keep asking each other: first it breaks on the
// second node and goes back, then Typha breaks and has to wait for the nodes. The upgrade is taken back by hand, a node goes, and joins again.
func TestOperations(t *testing.T) {
	t.Parallel()
	h := newHostedWith(t, kube.Options{Kubelets: []kube.Kubelet{kube.Containerd, kube.Containerd, kube.Containerd}, Calico: site.Versions})
	h.playbook(exitOK, "calico-kdd", "-e", "calico_version="+opsFrom, "--skip-tags", "S-30")
	h.apply(opsWork)
	h.kubectl("rollout", "status", "daemonset/probe", "--timeout", "3m")
	h.kubectl("rollout", "status", "deployment/web", "--timeout", "3m")
	p := h.probe()
	_ = t.Run("broken upgrade", func(t *testing.T) { h.in(t).breaksUpgrade(p) }) &&
		t.Run("upgrade", func(t *testing.T) { h.in(t).upgrades(p) }) &&
		t.Run("once more", func(t *testing.T) { h.in(t).settles("upgrade", "-e", "to_version="+opsTo) }) &&
		t.Run("rollback", func(t *testing.T) { h.in(t).takesUpgradeBack(p) }) &&
		t.Run("refusals", func(t *testing.T) { h.in(t).refusesToRemove() }) &&
		t.Run("disruption budget", func(t *testing.T) { h.in(t).leavesWhatStays() }) &&
		t.Run("node-remove", func(t *testing.T) { h.in(t).removesNode() }) &&
		t.Run("node-add", func(t *testing.T) { h.in(t).addsNode() })
}

// apply makes objects, whose pods have the image of all pods here.
func (h *hosted) apply(objects string) {
	h.Helper()
	if err := h.cluster.Apply(h.Context(), strings.ReplaceAll(objects, "IMAGE", artifacts.ImageTag(artifacts.PodImage, ""))); err != nil {
		h.Fatal(err)
	}
}

// says demands words of a run.
func (h *hosted) says(o outcome, words ...string) {
	h.Helper()
	for _, want := range words {
		if !strings.Contains(o.text, want) {
			h.Errorf("the run does not say %q:\n%s", want, o.text)
		}
	}
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

// opsTyphaBack is said when Typha does not get on with the nodes.
const opsTyphaBack = "TASK [calico_roll : Put Typha back until the nodes have changed]"

// probes are the addresses of pods that stay on their nodes, by node, each of which keeps asking the others.
type probes map[string]string

// probe has the pods begin to ask. A request that takes five seconds is lost; hosts share a busy machine.
func (h *hosted) probe() probes {
	h.Helper()
	p := probes{}
	for line := range strings.Lines(h.kubectl("get", "pods", "-l", "app=probe", "-o", `jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{"\n"}{end}`)) {
		node, address, _ := strings.Cut(strings.TrimSpace(line), " ")
		p[node] = address
	}
	for node, from := range p {
		for other, to := range p {
			if other != node {
				h.ask(node, from, "keep?timeout=5s&url=http://"+to+":8080/")
			}
		}
	}
	return p
}

func (h *hosted) ask(node, address, what string) string {
	h.Helper()
	return h.sh(h.lab.Host(node), "curl -fsS --noproxy '*' --max-time 10 'http://"+address+":8080/"+what+"'")
}

// lost are the requests that got no answer since a time, as "node -> URL: why", and how many were sent since the probes began.
func (h *hosted) lost(p probes, since time.Time) (failures []time.Time, why []string, sent int) {
	h.Helper()
	for node, address := range p {
		var all map[string]kube.Kept
		if err := json.Unmarshal([]byte(h.ask(node, address, "report")), &all); err != nil {
			h.Fatal(err)
		}
		for url, kept := range all {
			sent += kept.Sent
			for _, f := range kept.Failures {
				if f.At.After(since) {
					failures, why = append(failures, f.At), append(why, fmt.Sprintf("%s -> %s at %s: %s", node, url, f.At, f.Why))
				}
			}
		}
	}
	return failures, why, sent
}

// nodeImage is the image of calico/node on each node, and when it was started.
func (h *hosted) nodeImages() map[string]string {
	h.Helper()
	all := map[string]string{}
	for line := range strings.Lines(h.kubectl("-n", "kube-system", "get", "pods", "-l", "k8s-app=calico-node", "-o",
		`jsonpath={range .items[*]}{.spec.nodeName} {.spec.containers[0].image} {.metadata.creationTimestamp}{"\n"}{end}`)) {
		node, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		all[node] = rest
	}
	return all
}

// runs demands a release on every node, and that all are Ready and take pods.
func (h *hosted) runsOn(version string) {
	h.Helper()
	for node, image := range h.nodeImages() {
		if !strings.Contains(image, "calico/node:"+version+" ") {
			h.Errorf("%s runs %s, want %s", node, image, version)
		}
	}
	if got := h.kubectl("-n", "kube-system", "get", "deployments", "-o", "jsonpath={.items[*].spec.template.spec.containers[0].image}"); strings.Count(got, ":"+version) != 2 {
		h.Errorf("Typha and the controllers are %s, want %s", got, version)
	}
	if err := h.cluster.WaitReady(h.Context()); err != nil {
		h.Error(err)
	}
	if got := h.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); strings.TrimSpace(got) != "" {
		h.Errorf("nodes take no pods: %s", got)
	}
	if got := h.kubectl("-n", "kube-system", "get", "daemonset", "calico-node", "-o", "jsonpath={.spec.updateStrategy.type}"); got != "RollingUpdate" {
		h.Errorf("the DaemonSet has the update strategy %s", got)
	}
}

// spoil gives a host what is no Calico under the name of an image, and mend takes that back.
func spoil(image string) string {
	return "set -e\nctr -n k8s.io images tag --force docker.io/" + image + " kept/" + image +
		"\nctr -n k8s.io images tag --force docker.io/" + artifacts.ImageTag(artifacts.PodImage, "") + " docker.io/" + image
}

func mend(image string) string {
	return "ctr -n k8s.io images tag --force kept/" + image + " docker.io/" + image
}

// upgrades rolls the cluster to the newer release. Its Typha does not start at first, so that it has to wait for the nodes.
func (h *hosted) upgrades(p probes) {
	h.Helper()
	began, moved, typha := time.Now(), h.kubectl("get", "pods", "-l", "app=web", "-o", "name"), artifacts.ImageTag(artifacts.TyphaImage, opsTo)
	for _, node := range h.cluster.Nodes() {
		h.sh(node, spoil(typha))
	}
	mended := make(chan error, 1)
	go func() { mended <- h.mendTypha(typha) }()
	o := h.playbook(exitOK, "upgrade", "-e", "to_version="+opsTo, "-e", "upgrade_typha_order=typha-first", "-e", "wait_rollout_seconds=45")
	if err := <-mended; err != nil {
		h.Fatal(err)
	}
	if testing.Verbose() {
		h.Log(o.text)
	}
	h.says(o, opsTyphaBack)
	h.runsOn(opsTo)
	h.oneAfterTheOther(p, began)
	if now := h.kubectl("get", "pods", "-l", "app=web", "-o", "name"); now == moved {
		h.Error("no pod was moved: nothing was drained")
	}
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

// oneAfterTheOther tells what was lost in all and while each node changed, and demands that it is nothing.
func (h *hosted) oneAfterTheOther(p probes, began time.Time) {
	h.Helper()
	failures, why, sent := h.lost(p, began)
	h.Logf("%d requests were sent, %d lost", sent, len(failures))
	for node, started := range h.nodeImages() {
		at, err := time.Parse(time.RFC3339, started[strings.LastIndex(started, " ")+1:])
		if err != nil {
			h.Fatal(err)
		}
		n := 0
		for _, f := range failures {
			if d := f.Sub(at); d > -5*time.Second && d < 30*time.Second {
				n++
			}
		}
		h.Logf("%d of them while %s changed", n, node)
	}
	for _, w := range why {
		h.Errorf("lost: %s", w)
	}
}

// breaksUpgrade upgrades with a new release that is none on the second node.
func (h *hosted) breaksUpgrade(p probes) {
	h.Helper()
	began, second, image := time.Now(), h.cluster.Nodes()[1], artifacts.ImageTag(artifacts.NodeImage, opsTo)
	h.sh(second, spoil(image))
	o := h.playbook(exitFailed, "upgrade", "-e", "to_version="+opsTo, "-e", "on_error=rollback")
	h.sh(second, mend(image))
	if testing.Verbose() {
		h.Log(o.text)
	}
	h.says(o, "cannot upgrade "+second.Name+" to "+opsTo, "Every node is back at "+opsFrom)
	if strings.Contains(o.text, opsTyphaBack) {
		h.Error("Typha went back before the nodes changed, although it is what it should be")
	}
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
		if got := h.sh(other, "ip route show proto bird | grep "+host.Address.String()+" || true"); got != "" {
			h.Errorf("%s still has the routes\n%s", other.Name, got)
		}
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
