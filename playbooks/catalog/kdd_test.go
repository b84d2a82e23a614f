package catalog_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
)

// What is compared below is written by hand from what each object must be. The words K-05 and so on are the names of the objects in
// docs/calico-kdd.md.

var calicoKDD = sync.OnceValues(func() (*playbooks.Playbook, error) { return loader(expr.New(expr.Options{})).Load("calico-kdd") })

// factsOfCluster are what kube_facts finds in a cluster of three nodes.
const factsOfCluster = `
kube_version: "1.29.15"
kube_api: {DaemonSet: apps/v1, Deployment: apps/v1, ClusterRole: rbac.authorization.k8s.io/v1, ClusterRoleBinding: rbac.authorization.k8s.io/v1,
  CustomResourceDefinition: apiextensions.k8s.io/v1, NetworkPolicy: networking.k8s.io/v1, PodDisruptionBudget: policy/v1}
kube_nodes: [{metadata: {name: node1}}, {metadata: {name: node2}}, {metadata: {name: node3}}]
kube_node_count: 3
`

// factsOfOldCluster are those of Kubernetes 1.7.
const factsOfOldCluster = factsOfCluster + `
kube_version: "1.7.16"
kube_api: {DaemonSet: extensions/v1beta1, Deployment: extensions/v1beta1, ClusterRole: rbac.authorization.k8s.io/v1beta1, ClusterRoleBinding: rbac.authorization.k8s.io/v1beta1,
  CustomResourceDefinition: apiextensions.k8s.io/v1beta1}
`

// kddText is the outcome of a template of a role of calico-kdd.
func kddText(t *testing.T, role, template, hostVars string, facts ...string) string {
	t.Helper()
	pb, err := calicoKDD()
	if err != nil {
		t.Fatal(err)
	}
	env := expr.New(expr.Options{})
	scope, _ := playbookScope(t, env, pb, role, hostVars, append([]string{factsOfCluster}, facts...)...)
	return renderedIn(t, env, scope, role, template)
}

type object = map[string]any

// kddObjects are the objects in the outcome of a template. Each must say that it is calroll's.
func kddObjects(t *testing.T, role, template, hostVars string, facts ...string) []object {
	t.Helper()
	text := kddText(t, role, template, hostVars, facts...)
	var all []object
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if o == nil {
			continue // the comment before the first
		}
		if get(o, "metadata", "labels", "app.kubernetes.io/managed-by") != "calroll" {
			t.Errorf("%v %v does not say that it is calroll's", o["kind"], get(o, "metadata", "name"))
		}
		all = append(all, o)
	}
}

// get is what stands at a path of keys and indices; nil if there is nothing.
func get(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(object)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

func list(v any) []any { l, _ := v.([]any); return l }

// words are the texts of a list.
func words(v any) []string {
	var out []string
	for _, x := range list(v) {
		out = append(out, fmt.Sprint(x))
	}
	return out
}

// rights are the rules of a ClusterRole as a set of "group/resource[name] verb".
func rights(role object) map[string]bool {
	set := map[string]bool{}
	for _, r := range list(role["rules"]) {
		names := words(get(r, "resourceNames"))
		if names == nil {
			names = []string{""}
		}
		for _, g := range words(get(r, "apiGroups")) {
			for _, res := range words(get(r, "resources")) {
				for _, n := range names {
					for _, v := range words(get(r, "verbs")) {
						set[right(g, res, n, v)] = true
					}
				}
			}
		}
	}
	return set
}

func right(group, resource, name, verb string) string {
	if name != "" {
		name = "[" + name + "]"
	}
	return group + "/" + resource + name + " " + verb
}

// rightsOf reads lines of "GROUP RESOURCE,... VERB,...", with core for the group without a name, crd for Calico's, and a resource's names
// in brackets.
func rightsOf(lines ...string) map[string]bool {
	set := map[string]bool{}
	groups := map[string]string{"core": "", "crd": "crd.projectcalico.org"}
	for _, line := range lines {
		f := strings.Fields(line)
		group, known := groups[f[0]]
		if !known {
			group = f[0]
		}
		for res := range strings.SplitSeq(f[1], ",") {
			res, name, _ := strings.Cut(strings.TrimSuffix(res, "]"), "[")
			for verb := range strings.SplitSeq(f[2], ",") {
				set[right(group, res, name, verb)] = true
			}
		}
	}
	return set
}

func sameSet(t *testing.T, what string, got, want map[string]bool) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if !got[k] {
			t.Errorf("%s lacks %s", what, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if !want[k] {
			t.Errorf("%s has %s", what, k)
		}
	}
}

// named finds an object by kind and name.
func named(t *testing.T, all []object, kind, name string) object {
	t.Helper()
	for _, o := range all {
		if o["kind"] == kind && get(o, "metadata", "name") == name {
			return o
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

// names are the kinds and names of objects, in their order.
func names(all []object) []string {
	var out []string
	for _, o := range all {
		out = append(out, fmt.Sprintf("%v %v", o["kind"], get(o, "metadata", "name")))
	}
	return out
}

const (
	crd25 = "crd globalfelixconfigs,bgppeers,globalbgpconfigs,ippools,globalnetworkpolicies create,get,list,update,watch"
	crd30 = "crd globalfelixconfigs,felixconfigurations,bgppeers,globalbgpconfigs,bgpconfigurations,ippools,globalnetworkpolicies,networkpolicies,clusterinformations create,get,list,update,watch"
)

// TestRBACOfCalicoNode is K-05, the rules as sets.
func TestRBACOfCalicoNode(t *testing.T) {
	old := []string{"core namespaces,pods get,list,watch", "core pods/status update", "core nodes get,list,update,watch", "extensions networkpolicies get,list,watch"}
	v30 := append(slices.Clone(old), "core pods patch", "core services,endpoints get", crd30)
	for name, c := range map[string]struct {
		vars, facts string
		want        []string
	}{
		"2.5":     {"calico_version: v2.5.1", factsOfOldCluster, append(slices.Clone(old), crd25)},
		"2.6":     {"calico_version: v2.6.12", factsOfOldCluster, append(slices.Clone(old), crd25)},
		"3.0":     {"calico_version: v3.0.3", factsOfOldCluster, v30},
		"CNX 2.0": {"calico_version: v3.0.3", factsOfOldCluster + "product: cnx\n", append(slices.Clone(v30), "crd tiers create,get,list,update,watch")},
		"3.1": {"calico_version: v3.1.7", factsOfOldCluster, append(slices.Clone(v30), "networking.k8s.io networkpolicies watch,list",
			"crd globalnetworksets,hostendpoints create,get,list,update,watch")},
		"3.3": {"calico_version: v3.3.7", "", []string{"core namespaces,pods,serviceaccounts get,list,watch", "core pods/status patch", "core nodes get,list,update,watch",
			"extensions networkpolicies get,list,watch", "core services,endpoints get", "networking.k8s.io networkpolicies watch,list", crd30,
			"crd globalnetworksets,hostendpoints create,get,list,update,watch"}},
		"3.28": {"calico_version: v3.28.5", "", []string{"core serviceaccounts/token[calico-cni-plugin] create", "core pods,nodes,namespaces get",
			"discovery.k8s.io endpointslices watch,list", "core endpoints,services watch,list,get", "core configmaps get", "core nodes/status patch,update",
			"networking.k8s.io networkpolicies watch,list", "core pods,namespaces,serviceaccounts list,watch", "core pods/status patch",
			"crd globalfelixconfigs,felixconfigurations,bgppeers,bgpfilters,globalbgpconfigs,bgpconfigurations,ippools,ipreservations,ipamblocks,globalnetworkpolicies,globalnetworksets,networkpolicies,networksets,clusterinformations,hostendpoints,blockaffinities,caliconodestatuses get,list,watch",
			"crd ippools,felixconfigurations,clusterinformations create,update", "crd caliconodestatuses update", "core nodes get,list,watch",
			"crd bgpconfigurations,bgppeers create,update", "crd blockaffinities,ipamblocks,ipamhandles get,list,create,update,delete",
			"crd ipamconfigs get,create", "crd blockaffinities watch", "apps daemonsets get"}},
	} {
		t.Run(name, func(t *testing.T) {
			role := named(t, kddObjects(t, "calico_rbac", "rbac.yaml.j2", c.vars, c.facts), "ClusterRole", "calico-node")
			sameSet(t, "calico-node", rights(role), rightsOf(c.want...))
		})
	}
}

// TestRBACOfOthers is K-02 and the other rows of K-05: accounts, roles and bindings, and what is in front of what.
func TestRBACOfOthers(t *testing.T) {
	all := kddObjects(t, "calico_rbac", "rbac.yaml.j2", "typha: \"on\"")
	want := []string{"ServiceAccount calico-node", "ServiceAccount calico-cni-plugin", "ServiceAccount calico-kube-controllers", "ServiceAccount calico-typha",
		"ClusterRole calico-node", "ClusterRole calico-cni-plugin", "ClusterRole calico-kube-controllers", "ClusterRole calico-typha",
		"ClusterRoleBinding calico-node", "ClusterRoleBinding calico-cni-plugin", "ClusterRoleBinding calico-kube-controllers", "ClusterRoleBinding calico-typha"}
	if got := names(all); !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	sameSet(t, "calico-cni-plugin", rights(named(t, all, "ClusterRole", "calico-cni-plugin")), rightsOf("core pods,nodes,namespaces get", "core pods/status patch",
		"crd blockaffinities,ipamblocks,ipamhandles,clusterinformations,ippools,ipreservations,ipamconfigs get,list,create,update,delete"))
	sameSet(t, "calico-kube-controllers", rights(named(t, all, "ClusterRole", "calico-kube-controllers")), rightsOf("core nodes watch,list,get", "core pods get,list,watch",
		"crd ipreservations list", "crd blockaffinities,ipamblocks,ipamhandles get,list,create,update,delete,watch", "crd ippools list,watch",
		"crd hostendpoints get,list,create,update,delete", "crd clusterinformations,kubecontrollersconfigurations get,list,create,update,watch"))
	for right := range rights(named(t, all, "ClusterRole", "calico-typha")) {
		verb := strings.Fields(right)[1]
		if !slices.Contains([]string{"get", "list", "watch"}, verb) && !strings.Contains(right, "/clusterinformations ") {
			t.Errorf("Typha, which only reads, may %s", right)
		}
	}
	binding := named(t, all, "ClusterRoleBinding", "calico-node")
	if got := fmt.Sprint(get(binding, "roleRef", "name"), get(binding, "subjects")); got != "calico-node [map[kind:ServiceAccount name:calico-node namespace:kube-system]]" &&
		got != "calico-node[map[kind:ServiceAccount name:calico-node namespace:kube-system]]" {
		t.Errorf("calico-node is bound to %s", got)
	}
}

// TestRBACOfCanal: the option flannel has one account for both, and flannel's own role.
func TestRBACOfCanal(t *testing.T) {
	for name, c := range map[string]struct {
		vars string
		want []string
	}{
		"3.0": {"calico_version: v3.0.3\noption: flannel", []string{"ServiceAccount canal", "ClusterRole calico", "ClusterRole flannel", "ClusterRoleBinding canal-calico", "ClusterRoleBinding canal-flannel"}},
		"3.28": {"option: flannel", []string{"ServiceAccount canal", "ServiceAccount calico-cni-plugin", "ClusterRole calico-node", "ClusterRole calico-cni-plugin", "ClusterRole flannel",
			"ClusterRoleBinding canal-calico", "ClusterRoleBinding calico-cni-plugin", "ClusterRoleBinding canal-flannel"}},
	} {
		all := kddObjects(t, "calico_rbac", "rbac.yaml.j2", c.vars)
		if got := names(all); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		sameSet(t, "flannel", rights(named(t, all, "ClusterRole", "flannel")), rightsOf("core pods get", "core nodes list,watch", "core nodes/status patch"))
		if name == "3.28" {
			sameSet(t, "calico-cni-plugin", rights(named(t, all, "ClusterRole", "calico-cni-plugin")), rightsOf("core pods,nodes,namespaces get", "core pods/status patch"))
		}
	}
}

// TestKindsByRelease is K-07.
func TestKindsByRelease(t *testing.T) {
	v30 := []string{"felixconfigurations", "bgppeers", "bgpconfigurations", "ippools", "clusterinformations", "globalnetworkpolicies", "networkpolicies"}
	for name, c := range map[string]struct {
		vars, facts string
		want        []string
	}{
		"2.5":             {"calico_version: v2.5.1", factsOfOldCluster, []string{"globalfelixconfigs", "bgppeers", "globalbgpconfigs", "ippools", "globalnetworkpolicies"}},
		"2.6 policy-only": {"calico_version: v2.6.12\noption: policy-only", factsOfOldCluster, []string{"globalfelixconfigs", "globalbgpconfigs", "ippools", "globalnetworkpolicies"}},
		"3.0":             {"calico_version: v3.0.3", "", v30},
		"CNX 2.0":         {"calico_version: v3.0.3", "product: cnx", append(slices.Clone(v30), "tiers")},
		"3.1":             {"calico_version: v3.1.7", "", append(slices.Clone(v30), "globalnetworksets", "hostendpoints")},
		"3.28": {"", "", []string{"bgpconfigurations", "bgpfilters", "bgppeers", "blockaffinities", "caliconodestatuses", "clusterinformations", "felixconfigurations",
			"globalnetworkpolicies", "globalnetworksets", "hostendpoints", "ipamblocks", "ipamconfigs", "ipamhandles", "ippools", "ipreservations",
			"kubecontrollersconfigurations", "networkpolicies", "networksets"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := map[string]bool{}, map[string]bool{}
			for _, o := range kddObjects(t, "calico_crds", "crds.yaml.j2", c.vars, c.facts) {
				plural := fmt.Sprint(get(o, "spec", "names", "plural"))
				got[plural] = true
				scope := "Cluster"
				if plural == "networkpolicies" || plural == "networksets" {
					scope = "Namespaced"
				}
				if s := get(o, "spec", "scope"); s != scope {
					t.Errorf("%s has the scope %v, want %s", plural, s, scope)
				}
				if get(o, "metadata", "name") != plural+".crd.projectcalico.org" {
					t.Errorf("%s is named %v", plural, get(o, "metadata", "name"))
				}
			}
			for _, k := range c.want {
				want[k] = true
			}
			sameSet(t, name, got, want)
		})
	}
}

// TestTyphaReplicas is S-22.
func TestTyphaReplicas(t *testing.T) {
	pb, err := calicoKDD()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		vars  string
		nodes int
		want  string
	}{
		{"", 50, "0"}, {"", 51, "3"}, {"", 100, "3"}, {"", 101, "3"}, {"", 600, "3"}, {"", 601, "4"}, {"", 5000, "20"},
		{"typha: \"on\"", 3, "2"}, {"typha: \"on\"", 1, "1"}, {"typha: \"off\"", 500, "0"}, {"expected_nodes: 60", 4, "3"}, {"expected_nodes: 60", 3, "2"},
		{"typha: \"on\"\ntypha_replicas: 5", 3, "5"}, {"calico_version: v2.6.12", 60, "0"},
	} {
		env := expr.New(expr.Options{})
		scope, _ := playbookScope(t, env, pb, "typha", c.vars, factsOfCluster, fmt.Sprintf("kube_node_count: %d", c.nodes))
		got, err := scope.Evaluate("typha_count ~ ' ' ~ typha_service_name", source.Pos{})
		if err != nil {
			t.Fatal(err)
		}
		want := c.want + " calico-typha"
		if c.want == "0" {
			want = "0 none"
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%d nodes, %q: %v, want %s", c.nodes, c.vars, got, want)
		}
	}
}
