package catalog_test

import (
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/expr"
)

// TestFlannelLeftovers: with option flannel flannel's interface, rules and routes go with Calico, the routes by the network that its ConfigMap says; with
// another option none of it is touched, for it would be somebody else's.
func TestFlannelLeftovers(t *testing.T) {
	const network = `kube_configmaps: {canal-config: {net-conf.json: '{"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}}'}}` + "\n"
	for _, c := range []struct{ vars, facts, route string }{
		{"option: flannel\n", network, "route show root 10.244.0.0/16 |"},
		{"option: flannel\npool_cidr: 10.9.0.0/16\n", "", "route show root 10.9.0.0/16 |"},
		{"option: policy-only\n", network, ""},
		{"", "", ""},
	} {
		scope := roleTaskScope(t, expr.New(expr.Options{}), "calico_leftovers", "Take Calico's rules, routes and interfaces out of the kernel",
			kddVars+c.vars, soundCluster(), c.facts)
		v, err := scope.Evaluate("calico_leftovers_kernel + calico_leftovers_processes + (calico_leftovers_passing | join(' '))", sourceOfTest)
		if err != nil {
			t.Fatal(err)
		}
		got := expr.String(v)
		if !strings.Contains(got, c.route) || !strings.Contains(got, "vxlan.calico") {
			t.Errorf("%q and %q: there is no %q in\n%s", c.vars, c.facts, c.route, got)
		}
		for _, own := range []string{"flannel.1", "FLANNEL-", "flanneld", "/var/run/flannel", "route delete"} {
			if strings.Contains(got, own) != (c.route != "") {
				t.Errorf("%q: %s is there, or missing:\n%s", c.vars, own, got)
			}
		}
	}
}
