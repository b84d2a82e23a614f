package catalog_test

import (
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
)

// TestUpgradeBatches: how many hosts change at a time. Control plane hosts go alone, reflectors and members of a failure domain not together.
func TestUpgradeBatches(t *testing.T) {
	const order = "upgrade_order: [node1, a, b, c, d, e]\nkube_installed: {mode: hosted, product: calico, version: 3.28.4}\n" // node1 is the control plane
	for _, c := range []struct{ vars, want string }{
		{"", "[1, 1, 1, 1, 1, 1]"},
		{"node_serial: 2\n", "[1, 2, 2, 1]"},
		{"node_serial: [1, 50%]\n", "[1, 3, 2]"},
		{"node_serial: 5\n", "[1, 5]"},
		{"node_serial: 5\nrr_hosts: [b, c]\n", "[1, 2, 3]"},
		{"node_serial: 3\nrr_hosts: [a, b, c]\n", "[1, 1, 1, 3]"},
	} {
		got, err := upgradeScopeValue(t, "upgrade_batch_sizes", c.vars, order)
		if err != nil || got != c.want {
			t.Errorf("%q: got %s (%v), want %s", c.vars, got, err, c.want)
		}
	}
}

// TestUpgradeSettings: what is no release, no batch or no percentage is said before anything happens; so is what cannot be upgraded.
func TestUpgradeSettings(t *testing.T) {
	const hosted = "kube_error: \"\"\nkube_installed: {mode: hosted, product: calico, version: 3.28.4}\n"
	for _, c := range []struct{ vars, facts, list, says string }{
		{"to_version: v3.28.5\n", hosted, "upgrade_setting_mistakes", ""},
		{"to_version: latest\n", hosted, "upgrade_setting_mistakes", "latest is no release"},
		{"node_serial: [1, 0]\n", hosted, "upgrade_setting_mistakes", "node_serial must be"},
		{"node_serial: 20%\n", hosted, "upgrade_setting_mistakes", ""},
		{"batch_pause_seconds: -1\n", hosted, "upgrade_setting_mistakes", "batch_pause_seconds"},
		{"max_unready_after_typha: 101\n", hosted, "upgrade_setting_mistakes", "percentage"},
		{"", hosted, "upgrade_mistakes", ""},
		{"", "kube_error: no answer\nkube_installed: {mode: '', product: '', version: ''}\n", "upgrade_mistakes", "no Calico is installed, or Kubernetes does not say so: no answer"},
		{"", "kube_error: \"\"\nkube_installed: {mode: operator, product: calico, version: 3.28.4}\n", "upgrade_mistakes", "by its operator"},
		{"to_version: v2.0.9\n", "kube_error: \"\"\nkube_installed: {mode: hosted, product: cnx, version: 3.0.3}\n", "upgrade_mistakes", "CNX 2.0.9 is not in the version table"},
		{"to_version: v2.0.2\n", "kube_error: \"\"\nkube_installed: {mode: hosted, product: cnx, version: 3.0.3}\n", "upgrade_mistakes", ""},
	} {
		got, err := upgradeScopeValue(t, c.list, c.vars, c.facts)
		if err != nil || c.says == "" && got != "[]" || !strings.Contains(got, c.says) {
			t.Errorf("%q and %q: got %s (%v), want %q", c.vars, c.facts, got, err, c.says)
		}
	}
}

// upgradeScopeValue is what an expression comes to for the role upgrade_settings.
func upgradeScopeValue(t *testing.T, expression, vars, facts string) (string, error) {
	t.Helper()
	env := expr.New(expr.Options{})
	pb, err := loader(env).Load("upgrade")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(vars, "to_version") {
		vars += "to_version: v3.28.5\n"
	}
	scope, _ := playbookScope(t, env, pb, "upgrade_settings", vars, facts)
	v, err := scope.Evaluate(expression, source.Pos{File: "test"})
	return expr.String(v), err
}
