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

// TestUninstallOfPods shows verify and uninstall on a cluster with calico-kdd: verify alters nothing and says what broke when calico/node ends on one
// node; uninstall leaves alone what pods need unless it may, keeps the data unless it shall not, can be taken back, and leaves hosts and API
// as they were.
func TestUninstallOfPods(t *testing.T) {
	h := newHosted(t, kube.Containerd, kube.Containerd)
	h.rules = true
	bare, before := h.pictures(), h.objects()
	h.kdd(exitOK, "-e", "pool_encap=off", "-e", "with_calicoctl=false")
	if err := h.cluster.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	ok := t.Run("verify", func(t *testing.T) { h.in(t).verifies() }) &&
		t.Run("refused", func(t *testing.T) { h.in(t).isRefused() }) &&
		t.Run("data are kept", func(t *testing.T) { h.in(t).keepsData(bare) }) &&
		t.Run("taken back", func(t *testing.T) { h.in(t).comesBack() })
	if ok {
		t.Run("everything goes", func(t *testing.T) { h.in(t).goes(bare, before) })
	}
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
	h.asBefore(installed, "before verify")
	if got := h.objects(); !slices.Equal(got, objects) {
		h.Errorf("verify changed the API: %s", difference(objects, got))
	}

	nodes := h.cluster.Nodes()
	h.sh(nodes[0], "systemctl stop kubelet && ctr -n k8s.io tasks kill -a -s KILL $(ctr -n k8s.io containers ls | awk '$2 ~ /calico.node:/ {print $1}' | "+
		"while read c; do ctr -n k8s.io tasks ls | awk -v c=$c '$1 == c && $3 == \"RUNNING\" {print c}'; done)")
	h.eventually(nodes[0], time.Minute, "! pgrep -f 'calico-node [-]felix'")
	h.names(h.looks("verify", exitFailed), "H-02 "+nodes[0].Name, "H-09 "+nodes[0].Name, "H-03 "+nodes[1].Name)
	h.sh(nodes[0], "systemctl start kubelet")
	h.eventually(nodes[0], 3*time.Minute, "curl -fsS http://127.0.0.1:9099/readiness")
	if err := h.cluster.WaitReady(h.Context()); err != nil {
		h.Fatal(err)
	}
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

// comesBack takes the uninstall back.
func (h *hosted) comesBack() {
	h.Helper()
	h.rollback(h.lastRun())
	if err := h.cluster.WaitReady(h.Context()); err != nil {
		h.Fatal(err)
	}
	for _, n := range h.cluster.Nodes() {
		h.eventually(n, 3*time.Minute, "curl -fsS http://127.0.0.1:9099/readiness")
	}
}

func (h *hosted) goes(bare map[string]testenv.Snapshot, before []string) {
	h.Helper()
	h.uninstalls(exitOK, "-e", `{"purge_data": true, "ack": ["uninstall", "purge_data"]}`)
	h.asBefore(bare, "before the install")
	if got := h.objects(); !slices.Equal(got, before) {
		h.Errorf("the API is not as it was: %s", difference(before, got))
	}
	for host, changed := range h.uninstalls(exitOK).changed() {
		if changed != "0" {
			h.Errorf("the second uninstall changed %s: %s tasks", host, changed)
		}
	}
}
