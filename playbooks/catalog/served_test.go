package catalog_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/value"
)

// kubeReleases are the releases of Kubernetes for which objects are rendered, oldest first.
var kubeReleases = []string{"1.8", "1.9", "1.10", "1.11", "1.12", "1.13", "1.14", "1.15", "1.16", "1.19", "1.22", "1.29"}

// servedBy is what kube-apiserver of a release serves: group/version -> kinds. testdata/served.yml has each release as a step from the one before.
func servedBy(t *testing.T, release string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/served.yml")
	if err != nil {
		t.Fatal(err)
	}
	var steps map[string]struct {
		Came map[string][]string
		Went []string
	}
	if err := yaml.Unmarshal(text, &steps); err != nil {
		t.Fatal(err)
	}
	served := map[string][]string{}
	for _, r := range kubeReleases {
		maps.Copy(served, steps[r].Came)
		maps.DeleteFunc(served, func(api string, _ []string) bool { return slices.Contains(steps[r].Went, api) })
		if r == release {
			return served
		}
	}
	t.Fatalf("testdata/served.yml does not know Kubernetes %s", release)
	return nil
}

// kubeFacts are the facts of the role kube_facts for a cluster of a release.
func kubeFacts(t *testing.T, release string) string {
	t.Helper()
	text, err := yaml.Marshal(map[string]any{"kube_look_cluster": map[string]any{"apis": servedBy(t, release)}})
	if err != nil {
		t.Fatal(err)
	}
	scope := roleScope(t, expr.New(expr.Options{}), "kube_facts", "", string(text))
	v, err := scope.Evaluate("kube_look_api", sourceOfTest)
	if err != nil {
		t.Fatal(err)
	}
	api := map[string]string{}
	for kind, version := range v.(*value.Dict).All() {
		api[expr.String(kind)] = expr.String(version)
	}
	out, err := yaml.Marshal(map[string]any{"kube_api": api, "kube_version": release + ".3"})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// renderedAt says at what version each kind is rendered, by the first release from which on that holds.
var renderedAt = map[string]map[string]string{
	"Deployment":               {"1.8": "apps/v1beta2", "1.9": "apps/v1"},
	"DaemonSet":                {"1.8": "apps/v1beta2", "1.9": "apps/v1"},
	"ClusterRole":              {"1.8": "rbac.authorization.k8s.io/v1"},
	"ClusterRoleBinding":       {"1.8": "rbac.authorization.k8s.io/v1"},
	"Role":                     {"1.8": "rbac.authorization.k8s.io/v1"},
	"RoleBinding":              {"1.8": "rbac.authorization.k8s.io/v1"},
	"CustomResourceDefinition": {"1.8": "apiextensions.k8s.io/v1beta1", "1.16": "apiextensions.k8s.io/v1"},
	"NetworkPolicy":            {"1.8": "networking.k8s.io/v1"},
	"APIService":               {"1.8": "apiregistration.k8s.io/v1beta1", "1.10": "apiregistration.k8s.io/v1"},
	"PodDisruptionBudget":      {"1.8": "policy/v1beta1", "1.22": "policy/v1"},
}

// wantedAPI is the version at which a kind must be rendered for a release; the name of the kind itself if nothing is said about it.
func wantedAPI(kind, release string) string {
	at := kind
	for _, r := range kubeReleases {
		if v, ok := renderedAt[kind][r]; ok {
			at = v
		}
		if r == release {
			break
		}
	}
	return at
}

// TestAPIVersions: every kind gets the newest version of those known that a release serves.
func TestAPIVersions(t *testing.T) {
	for _, release := range kubeReleases {
		var facts struct {
			API map[string]string `yaml:"kube_api"`
		}
		if err := yaml.Unmarshal([]byte(kubeFacts(t, release)), &facts); err != nil {
			t.Fatal(err)
		}
		for kind := range renderedAt {
			if got, want := facts.API[kind], wantedAPI(kind, release); got != want {
				t.Errorf("Kubernetes %s: %s at %s, want %s", release, kind, got, want)
			}
		}
	}
}
