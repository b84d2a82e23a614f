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
var opsSettings = []string{"-e", "pool_encap=off", "-e", "with_calicoctl=false", "-e", "drain_grace_seconds=10"}

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

// TestOperations upgrades a running cluster while pods on every pair of nodes keep asking each other, breaks an upgrade on the second node, takes a
// node away and has it join again.
func TestOperations(t *testing.T) {
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c := kube.ForTest(t, kube.Options{Kubelets: []kube.Kubelet{kube.Containerd, kube.Containerd, kube.Containerd}, Calico: site.Versions})
	h := &hosted{network: &network{T: t, lab: c.Lab, exe: exe}, cluster: c}
	h.playbook(exitOK, "calico-kdd", "-e", "calico_version="+opsFrom)
	if err := c.Apply(t.Context(), strings.ReplaceAll(opsWork, "IMAGE", artifacts.ImageTag(artifacts.PodImage, ""))); err != nil {
		t.Fatal(err)
	}
	h.kubectl("rollout", "status", "daemonset/probe", "--timeout", "3m")
	h.kubectl("rollout", "status", "deployment/web", "--timeout", "3m")
	p := h.probe()
	_ = t.Run("upgrade", func(t *testing.T) { h.in(t).upgrades(p) }) &&
		t.Run("broken upgrade", func(t *testing.T) { h.in(t).breaksUpgrade(p) }) &&
		t.Run("refusals", func(t *testing.T) { h.in(t).refusesToRemove() }) &&
		t.Run("node-remove", func(t *testing.T) { h.in(t).removesNode() }) &&
		t.Run("node-add", func(t *testing.T) { h.in(t).addsNode() })
}

// playbook carries a playbook out and demands an exit code.
func (h *hosted) playbook(code int, name string, args ...string) outcome {
	h.Helper()
	o := h.calroll(slices.Concat([]string{"run", name}, opsSettings, args)...)
	if o.code != code {
		h.Fatalf("calroll run %s %s: exit code %d, not %d\n%s", name, strings.Join(args, " "), o.code, code, o.text)
	}
	return o
}

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

// upgrades rolls the cluster to the newer release.
func (h *hosted) upgrades(p probes) {
	h.Helper()
	began, moved := time.Now(), h.kubectl("get", "pods", "-l", "app=web", "-o", "name")
	o := h.playbook(exitOK, "upgrade", "-e", "to_version="+opsTo)
	if testing.Verbose() {
		h.Log(o.text)
	}
	h.runsOn(opsTo)
	h.oneAfterTheOther(p, began)
	if now := h.kubectl("get", "pods", "-l", "app=web", "-o", "name"); now == moved {
		h.Error("no pod was moved: nothing was drained")
	}
	for host, changed := range h.playbook(exitOK, "upgrade", "-e", "to_version="+opsTo).changed() {
		if changed != "0" {
			h.Errorf("the second run changed %s: %s tasks", host, changed)
		}
	}
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

// breaksUpgrade goes back by hand, and then upgrades with a new release that is none on the second node.
func (h *hosted) breaksUpgrade(p probes) {
	h.Helper()
	h.rollback(h.runs()[len(h.runs())-2]) // the second run changed nothing
	h.runsOn(opsFrom)
	began := time.Now()
	second := h.cluster.Nodes()[1]
	h.sh(second, "ctr -n k8s.io images tag --force docker.io/"+artifacts.ImageTag(artifacts.PodImage, "")+" docker.io/"+artifacts.ImageTag(artifacts.NodeImage, opsTo))
	o := h.playbook(exitFailed, "upgrade", "-e", "to_version="+opsTo, "-e", "on_error=rollback")
	for _, want := range []string{"cannot upgrade " + second.Name + " to " + opsTo, "Every node is back at " + opsFrom} {
		if !strings.Contains(o.text, want) {
			h.Errorf("the run does not say %q:\n%s", want, o.text)
		}
	}
	h.runsOn(opsFrom)
	h.oneAfterTheOther(p, began)
}

// refusesToRemove asks for what would leave too little.
func (h *hosted) refusesToRemove() {
	h.Helper()
	nodes := h.cluster.Nodes()
	for _, c := range []struct {
		says string
		args []string
	}{
		{"with --limit", nil},
		{"belongs to the control plane", []string{"--limit", h.cluster.Control.Name}},
		{"G-23 stop on the cluster:", []string{"--limit", nodes[2].Name, "-e", fmt.Sprintf(`{"rr_hosts": [%q, %q]}`, nodes[1].Name, nodes[2].Name)}},
	} {
		o := h.playbook(exitFailed, "node-remove", c.args...)
		if !strings.Contains(o.text, c.says) {
			h.Errorf("the run does not say %q:\n%s", c.says, o.text)
		}
	}
	h.runsOn(opsFrom)
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
	left := `{ ls -d /etc/cni/net.d/* /var/lib/calico /var/run/calico /opt/cni/bin/calico; ip -o link | grep cali; ip route show proto bird; iptables-save | grep cali; ipset list -n | grep cali
pgrep -a -f calico-node; systemctl is-enabled kubelet | grep -x enabled; } 2>/dev/null || true`
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
	for who, changed := range h.playbook(exitOK, "node-add", "--limit", host.Name).changed() {
		if changed != "0" {
			h.Errorf("the second run changed %s: %s tasks", who, changed)
		}
	}
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
