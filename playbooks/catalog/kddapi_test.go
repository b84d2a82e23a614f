package catalog_test

import (
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/kube"
)

// kddSets are the sets of objects of the playbook, in the order in which it applies them.
var kddSets = [][2]string{
	{"calico_rbac", "rbac.yaml.j2"}, {"calico_crds", "crds.yaml.j2"}, {"typha", "typha.yaml.j2"}, {"calico_config", "config.yaml.j2"},
	{"calico_daemonset", "calico-node.yaml.j2"}, {"kube_controllers", "kube-controllers.yaml.j2"}, {"cluster_state", "calroll-state.yaml.j2"},
}

// TestKubernetesAcceptsTheObjects gives every object of every option to a real API server, which refuses what it does not know.
func TestKubernetesAcceptsTheObjects(t *testing.T) {
	t.Parallel()
	api := kube.APIForTest(t, kube.APIOptions{})
	for _, set := range kddSets {
		if set[0] != "calico_crds" && set[0] != "typha" {
			accepted(t, api, set, "", hostedEtcd)
		}
	}
	for _, vars := range []string{
		"", "typha: \"on\"\nkube_controllers_env: {LOG_LEVEL: debug}", "option: policy-only", "option: flannel\npool_cidr: 10.244.0.0/16", "typha: \"on\"\ntypha_tls: true",
		"calico_version: v2.6.12", "calico_version: v2.6.12\noption: flannel", "calico_version: v3.0.3", "calico_version: v3.0.3\noption: policy-only",
		"calico_version: v3.11.3", "calico_version: v3.20.6", "calico_version: v3.30.1", "profile: seed",
	} {
		// What a binding is to cannot be altered; the role removes it first.
		if out, err := api.Kubectl(t.Context(), "delete", "clusterrolebinding", "canal-calico", "--ignore-not-found").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, set := range kddSets {
			if set[0] == "kube_controllers" && strings.Contains(vars, "v2.6") {
				continue // nothing of it is applied
			}
			accepted(t, api, set, vars)
		}
	}
	crd := api.Kubectl(t.Context(), "wait", "--for=condition=Established", "--timeout=60s", "crd", "-l", "app.kubernetes.io/managed-by=calroll")
	if out, err := crd.CombinedOutput(); err != nil {
		t.Errorf("kinds are not established: %v\n%s", err, out)
	}
}

// accepted applies a set of objects.
func accepted(t *testing.T, api *kube.API, set [2]string, vars string, facts ...string) {
	t.Helper()
	text := kddText(t, set[0], set[1], vars, facts...)
	apply := api.Kubectl(t.Context(), "apply", "--server-side", "--force-conflicts", "--field-manager=calroll", "--validate=strict", "-f", "-")
	apply.Stdin = strings.NewReader(text)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Errorf("%s of %q: %v\n%s\n%s", set[0], vars, err, out, text)
	}
}
