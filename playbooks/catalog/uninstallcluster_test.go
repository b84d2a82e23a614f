//go:build nightly

package catalog_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/kube"
)

// TestUninstallOfPods shows verify, doctor and uninstall on a cluster with calico-kdd: verify alters nothing and says what broke when calico/node ends
// on one node; uninstall leaves alone what pods need unless it may, and a node that cannot be drained; it leaves hosts and API as they were, can be
// taken back, and keeps the data unless it shall not.
func TestUninstallOfPods(t *testing.T) {
	t.Parallel()
	h := newHosted(t, kube.Containerd, kube.Containerd)
	h.rules = true
	bare, before := h.pictures(), h.objects()
	h.kdd(exitOK, "-e", "pool_encap=off", "-e", "with_calicoctl=false")
	if err := h.cluster.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = t.Run("verify", func(t *testing.T) { h.in(t).verifies() }) &&
		t.Run("own play", func(t *testing.T) { h.in(t).rollsByAnOwnPlay() }) &&
		t.Run("refused", func(t *testing.T) { h.in(t).isRefused() }) &&
		t.Run("broken off", func(t *testing.T) { h.in(t).breaksOff() }) &&
		t.Run("everything goes", func(t *testing.T) { h.in(t).goes(bare, before) }) &&
		t.Run("taken back", func(t *testing.T) { h.in(t).comesBack() }) &&
		t.Run("data are kept", func(t *testing.T) { h.in(t).keepsData(bare) }) &&
		t.Run("and go later", func(t *testing.T) { h.in(t).goesLater(bare, before) })
}

func (h *hosted) verifies() {
	h.Helper()
	installed, objects := h.pictures(), h.objects()
	if o := h.looks("verify", exitOK); !strings.Contains(o.text, "ok: all ") {
		h.Errorf("verify finds something right after the install:\n%s", o.text)
	}
	// Gates may find the machine busy, which is degraded.
	if o := h.calroll("run", "doctor", "-e", "output=json"); o.code > exitDegraded || strings.Contains(o.text, `"id": "D-`) {
		h.Errorf("doctor finds a failure right after the install: exit code %d\n%s", o.code, o.text)
	}
	h.asBefore(installed, "before verify", "path /var/lib/cni/results/") // the runtime's, who clears up behind the pods of the smoke test
	if got := h.objects(); !slices.Equal(got, objects) {
		h.Errorf("verify changed the API: %s", difference(objects, got))
	}

	nodes := h.cluster.Nodes()
	h.sh(nodes[0], "systemctl stop kubelet && ctr -n k8s.io tasks kill -a -s KILL $(ctr -n k8s.io containers ls | awk '$2 ~ /calico.node:/ {print $1}' | "+
		"while read c; do ctr -n k8s.io tasks ls | awk -v c=$c '$1 == c && $3 == \"RUNNING\" {print c}'; done)")
	h.eventually(nodes[0], time.Minute, "! pgrep -f 'calico-node [-]felix'")
	h.names(h.looks("verify", exitFailed), "H-02 "+nodes[0].Name, "H-09 "+nodes[0].Name, "H-03 "+nodes[1].Name)
	h.plantsInCluster(nodes[1])
	h.sh(nodes[0], "systemctl start kubelet")
	h.eventually(nodes[0], 3*time.Minute, "curl -fsS http://127.0.0.1:9099/readiness")
	if err := h.cluster.WaitReady(h.Context()); err != nil {
		h.Fatal(err)
	}
}

// amiss are objects that somebody else's cluster could have: blocks of a node that is gone, as many pods of Typha as nodes, a pod for which no node has room.
const amiss = `
apiVersion: crd.projectcalico.org/v1
kind: BlockAffinity
metadata: {name: gone7-192-168-77-0-26}
spec: {node: gone7, cidr: 192.168.77.0/26, state: confirmed, deleted: "false"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: calico-typha, namespace: kube-system}
spec:
  replicas: 2
  selector: {matchLabels: {k8s-app: calico-typha}}
  template:
    metadata: {labels: {k8s-app: calico-typha}}
    spec: {nodeSelector: {no: where}, containers: [{name: typha, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: canal-x, namespace: kube-system, labels: {k8s-app: canal}}
spec: {containers: [{name: node, image: none, resources: {requests: {cpu: "999"}}}]}
`

// plantsInCluster plants failures that only a cluster can have, and has doctor name each with its number; afterwards they are gone.
func (h *hosted) plantsInCluster(node *testenv.Host) {
	h.Helper()
	if err := h.cluster.Apply(h.Context(), amiss); err != nil {
		h.Fatal(err)
	}
	h.kubectl("-n", "kube-system", "wait", "--for=condition=PodScheduled=false", "pod/canal-x", "--timeout=60s")
	h.kubectl("patch", "clusterinformations.crd.projectcalico.org", "default", "--type=merge", "-p", `{"spec": {"datastoreReady": false}}`)
	h.sh(node, `for f in /var/log/pods/kube-system_calico-node*/calico-node/*.log; do
		echo "$(date -u +%FT%T.%NZ) stderr F failed to ensure datastore has been initialized" >> $f; done`)
	h.names(h.calroll("run", "doctor"), "D-20 "+node.Name, "D-22 ", "D-25 ", "D-26 ", "D-29 ")
	h.kubectl("patch", "clusterinformations.crd.projectcalico.org", "default", "--type=merge", "-p", `{"spec": {"datastoreReady": true}}`)
	h.kubectl("delete", "blockaffinities.crd.projectcalico.org", "gone7-192-168-77-0-26")
	h.kubectl("-n", "kube-system", "delete", "deployment/calico-typha", "pod/canal-x", "--cascade=foreground", "--wait")
}

// isRefused starts a pod, which would lose its network.
func (h *hosted) isRefused() {
	h.Helper()
	if _, err := h.cluster.StartPod(h.Context(), "a", kube.PodOptions{Node: h.cluster.Nodes()[0].Name}); err != nil {
		h.Fatal(err)
	}
	objects := h.objects()
	if o := h.uninstalls(exitFailed); !strings.Contains(o.text, "would lose their network: ") || !strings.Contains(o.text, "/a") {
		h.Errorf("the refusal does not name the pod:\n%s", o.text)
	}
	if got := h.objects(); !slices.Equal(got, objects) {
		h.Errorf("a refused uninstall changed the API: %s", difference(objects, got))
	}
}

const keepA = `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: keep-a, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: a}}}
`

// breaksOff has a disruption budget keep the pod: its node stays in service, with its network.
func (h *hosted) breaksOff() {
	h.Helper()
	if err := h.cluster.Apply(h.Context(), keepA); err != nil {
		h.Fatal(err)
	}
	if o := h.uninstalls(exitFailed, "-e", `{"ack": ["uninstall"], "drain_timeout_seconds": 5}`); testing.Verbose() {
		h.Log(o.text)
	}
	if got := h.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); got != "" {
		h.Errorf("nodes are out of service after an uninstall that was broken off: %s", got)
	}
	if got := h.kubectl("get", "pod", "a", "-o", "jsonpath={.status.phase}{.metadata.deletionTimestamp}"); got != "Running" {
		h.Errorf("the pod that was to stay is %s", got)
	}
	for _, n := range h.cluster.Nodes() {
		h.sh(n, "ls /etc/cni/net.d/10-calico.conflist && curl -fsS http://127.0.0.1:9099/readiness")
	}
	h.kubectl("delete", "poddisruptionbudget", "keep-a")
}

func (h *hosted) kinds() int {
	h.Helper()
	return strings.Count(h.kubectl("get", "crd", "-o", "name"), ".crd.projectcalico.org")
}

func (h *hosted) keepsData(bare map[string]testenv.Snapshot) {
	h.Helper()
	kinds := h.kinds()
	o := h.uninstalls(exitOK, "-e", `{"ack": ["uninstall"]}`)
	if testing.Verbose() {
		h.Log(o.text)
	}
	h.inSteps(o.text, "Remove the APIService", "Stop the controllers", "Take the node out of service]", "Stop calico/node on all nodes]", "Take Calico's files away", "Remove rights", "Remove Calico's kinds")
	h.asBefore(bare, "before the install")
	if got := h.kinds(); got != kinds {
		h.Errorf("%d of %d kinds are left", got, kinds)
	}
}

// inSteps fails the test unless texts come in this order.
func (h *hosted) inSteps(text string, steps ...string) {
	h.Helper()
	for _, step := range steps {
		_, rest, found := strings.Cut(text, step)
		if !found {
			h.Errorf("%q does not come where it should", step)
			return
		}
		text = rest
	}
}

// comesBack takes the uninstall back, and then the one before it, which broke off when the controllers had gone.
func (h *hosted) comesBack() {
	h.Helper()
	runs := h.runs()
	h.rollback(runs[len(runs)-1])
	h.rollback(runs[len(runs)-2])
	if err := h.cluster.WaitReady(h.Context()); err != nil {
		h.Fatal(err)
	}
	h.kubectl("-n", "kube-system", "rollout", "status", "daemonset/calico-node", "--timeout=180s")
	h.kubectl("-n", "kube-system", "rollout", "status", "deployment/calico-kube-controllers", "--timeout=180s")
	if got := h.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); got != "" {
		h.Errorf("nodes are out of service after the rollback: %s", got)
	}
	h.reach(" proto bird")
	if o := h.looks("verify", exitOK); !strings.Contains(o.text, "ok: all ") {
		h.Errorf("verify finds something after the rollback:\n%s", o.text)
	}
}

// goesLater deletes the data that an uninstall has kept.
func (h *hosted) goesLater(bare map[string]testenv.Snapshot, before []string) {
	h.Helper()
	purge := []string{"-e", `{"purge_data": true, "ack": ["uninstall", "purge_data"]}`}
	h.uninstalls(exitOK, purge...)
	h.isOff(bare, before)
	for host, changed := range h.uninstalls(exitOK, purge...).changed() {
		if changed != "0" {
			h.Errorf("the last uninstall changed %s: %s tasks", host, changed)
		}
	}
}
