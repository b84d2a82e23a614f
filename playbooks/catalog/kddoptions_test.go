package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// TestKDDOptions shows the options of calico-kdd that leave the way between nodes to others: to static routes, and to flannel. Each carries pods,
// obeys policy, and can be taken back, which leaves hosts and API as they were.
func TestKDDOptions(t *testing.T) {
	t.Parallel()
	h := newHostedWith(t, kube.Options{Kubelets: []kube.Kubelet{kube.Containerd, kube.Containerd}, Flannel: true})
	h.rules = true
	bare, before := h.pictures(), h.objects()
	if t.Run("policy-only", func(t *testing.T) { h.in(t).policyOnly(before) }) {
		t.Run("flannel", func(t *testing.T) { h.in(t).withFlannel(bare, before) })
	}
}

// policyOnly asks for routes where there are none, and uses those that there are.
func (h *hosted) policyOnly(before []string) {
	h.Helper()
	settings := []string{"-e", "option=policy-only", "-e", "pod_routing=static"}
	if o := h.kdd(exitFailed, settings...); !strings.Contains(o.text, "G-24 ask on "+h.cluster.Nodes()[0].Name+":") {
		h.Errorf("nodes without routes to pods of others are not asked about:\n%s", o.text)
	}
	h.routes("replace")
	routed := h.pictures()
	if !h.Run("carries", func(t *testing.T) {
		h.in(t).carries("calico-node", fmt.Sprintf(" via %s dev ", h.cluster.Nodes()[1].Address), settings...)
	}) {
		return
	}
	h.notThere("ip route show proto bird; ip -o link | grep -E 'tunl0.*UP|vxlan'; pgrep -a bird")
	h.takesBack(routed, before)
	h.routes("delete")
}

// withFlannel has flannel carry what Calico's policy lets pass.
func (h *hosted) withFlannel(bare map[string]testenv.Snapshot, before []string) {
	h.Helper()
	image := artifacts.ImageTag(artifacts.FlannelImage, "")
	if !h.Run("carries", func(t *testing.T) {
		h.in(t).carries("canal", " dev flannel.1 ", "-e", "option=flannel", "-e", "flannel_image="+image)
	}) {
		return
	}
	h.notThere("ip route show proto bird; ip -o link | grep -E 'tunl0.*UP|vxlan.calico'; pgrep -a bird")
	h.takesBack(bare, before)
}

// routes sets up or takes away a route on each node to the pods of each other one.
func (h *hosted) routes(verb string) {
	h.Helper()
	for _, to := range h.cluster.Nodes() {
		n, err := h.cluster.Node(h.Context(), to.Name)
		if err != nil {
			h.Fatal(err)
		}
		for _, on := range h.cluster.Nodes() {
			if on != to {
				h.sh(on, fmt.Sprintf("ip route %s %s via %s", verb, n.Spec.PodCIDR, to.Address))
			}
		}
	}
}

// notThere fails the test if a script prints anything on a node.
func (h *hosted) notThere(script string) {
	h.Helper()
	for _, n := range h.cluster.Nodes() {
		if out := h.sh(n, script+"; true"); out != "" {
			h.Errorf("%s has what this option does not use:\n%s", n.Name, out)
		}
	}
}
