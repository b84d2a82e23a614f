package catalog_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
)

// settingsRole is a role of settings: its defaults, and the roles whose settings it takes over.
type settingsRole struct {
	defaults map[string]any
	needs    []string
}

// settingsRoles are all roles of settings, by name.
func settingsRoles(t *testing.T) map[string]*settingsRole {
	t.Helper()
	all := map[string]*settingsRole{}
	walk(t, func(name string, text []byte) {
		role := path.Base(path.Dir(path.Dir(name)))
		if !strings.HasSuffix(role, "_settings") || path.Base(name) != "main.yml" {
			return
		}
		if all[role] == nil {
			all[role] = &settingsRole{}
		}
		switch path.Base(path.Dir(name)) {
		case "defaults":
			if err := yaml.Unmarshal(text, &all[role].defaults); err != nil {
				t.Error(err)
			}
		case "meta":
			var meta struct{ Dependencies []struct{ Role string } }
			if err := yaml.Unmarshal(text, &meta); err != nil {
				t.Error(err)
			}
			for _, d := range meta.Dependencies {
				all[role].needs = append(all[role].needs, d.Role)
			}
		}
	})
	return all
}

// TestEverySettingHasOneHome: what a role of settings takes over from another it does not define again. Where a playbook needs another default, the
// home asks for it by a name that begins with playbook_.
func TestEverySettingHasOneHome(t *testing.T) {
	all := settingsRoles(t)
	var visit func(role string, from *settingsRole, need string)
	visit = func(role string, from *settingsRole, need string) {
		home := all[need]
		if home == nil {
			return
		}
		for name := range from.defaults {
			if _, twice := home.defaults[name]; twice {
				t.Errorf("%s is a setting of %s and of %s, on which that depends", name, role, need)
			}
		}
		for _, n := range home.needs {
			visit(role, from, n)
		}
	}
	for role, r := range all {
		for _, need := range r.needs {
			visit(role, r, need)
		}
	}
	if len(all) < 5 || !slices.Contains(all["kdd_settings"].needs, "calico_objects_settings") {
		t.Errorf("roles of settings are not found: %v", all)
	}
}

// TestSettingsOfKDD: rules between settings, the playbook's own default of the pool, and where calicoctl goes.
func TestSettingsOfKDD(t *testing.T) {
	pb, err := calicoKDD()
	if err != nil {
		t.Fatal(err)
	}
	const rr = "rr_hosts: [node1, node2]\n"
	for _, c := range []struct{ vars, expression, want string }{
		{"", "kdd_setting_mistakes", "[]"},
		{"", "manage_pool", "False"},
		{"manage_pool: true", "kdd_setting_mistakes", "[]"},
		{"manage_pool: true\nwith_calicoctl: false", "kdd_setting_mistakes | length", "1"},
		{"manage_pool: true\noption: policy-only\npod_routing: static", "kdd_setting_mistakes | length", "1"},
		{rr, "kdd_setting_mistakes", "[]"},
		{rr, "[calico_mesh, kdd_bgp_configured, kdd_gets_calicoctl, calico_bgp_here]", "[False, True, True, True]"},
		{rr + "networking_backend: vxlan\npool_encap: vxlan-always", "kdd_setting_mistakes | length", "1"},
		{rr + "calico_version: v3.2.8\nipam: host-local", "kdd_setting_mistakes | length", "1"},
		{"mesh: \"off\"", "kdd_setting_mistakes | length", "1"},
		{"mesh: \"off\"\nbgp_peers: [{name: tor, peer_ip: 10.0.0.1, as: 64600}]", "kdd_setting_mistakes", "[]"},
		{"rr_hosts: [node1]", "kdd_setting_mistakes", "[]"}, // the gate G-23 stops
		{"typha_warn_nodes: 2", "typha_on | bool", "True"},
		{"typha_warn_nodes: 3", "typha_on | bool", "False"},
	} {
		env := expr.New(expr.Options{})
		scope, _ := playbookScope(t, env, pb, "calico_daemonset", c.vars, factsOfCluster)
		got, err := scope.Evaluate(c.expression, source.Pos{})
		if err != nil {
			t.Errorf("%q: %s: %v", c.vars, c.expression, err)
		} else if text := expr.String(got); text != c.want && fmt.Sprint(got) != c.want {
			t.Errorf("%q: %s is %s, want %s", c.vars, c.expression, text, c.want)
		}
	}
}

// TestSettingsOfPodsWithEtcd: what mode hosted of calico-etcd takes, and what is for the Kubernetes API alone.
func TestSettingsOfPodsWithEtcd(t *testing.T) {
	pb, err := calicoKDD()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ vars, expression, want string }{
		{"", "kdd_setting_mistakes", "[]"},
		{"", "[manage_pool, ipam, kdd_gets_calicoctl, typha_on | bool]", "[True, 'calico-ipam', True, False]"},
		{"calico_version: v3.1.7\nprofile: seed", "[kdd_setting_mistakes, ipam]", "[[], 'calico-ipam']"},
		{"calico_version: v2.6.12", "kdd_setting_mistakes | select('search', 'needs Calico 3.0; use mode integrated') | length", "1"},
		{"option: flannel", "kdd_setting_mistakes | first", "option flannel needs the Kubernetes API as the datastore (calico-kdd); with etcd the option is networking"},
		{"ipam: host-local", "kdd_setting_mistakes | first", "ipam host-local needs the Kubernetes API as the datastore (calico-kdd); with etcd it is calico-ipam"},
		{"typha: \"on\"", "kdd_setting_mistakes | length", "1"},
		{"manage_pool: false\nwith_calicoctl: false", "kdd_setting_mistakes | length", "1"},
		{"etcd_endpoints: [\"http://10.0.0.11:2379\"]", "kdd_config_hash == ([kdd_config, kdd_cni_document, kdd_flannel_document] | to_json | hash('sha1'))", "False"},
	} {
		env := expr.New(expr.Options{})
		scope, _ := playbookScope(t, env, pb, "calico_daemonset", c.vars, factsOfCluster, hostedEtcd)
		got, err := scope.Evaluate(c.expression, source.Pos{})
		if err != nil {
			t.Errorf("%q: %s: %v", c.vars, c.expression, err)
		} else if text := expr.String(got); text != c.want {
			t.Errorf("%q: %s is %s, want %s", c.vars, c.expression, text, c.want)
		}
	}
}

// TestOrderOfKDD: the pool is there before a node could make another, nodes are told of Typha when it is there, and BGP comes last before the test.
func TestOrderOfKDD(t *testing.T) {
	pb, err := calicoKDD()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"calico_rbac", "calico_crds", "calico_pool", "typha", "calico_config", "calico_daemonset", "kube_controllers", "felix_configuration", "calico_bgp", "smoke_test", "cluster_state"}
	var got []string
	var visit func([]playbooks.Node)
	visit = func(nodes []playbooks.Node) {
		for _, n := range nodes {
			switch n := n.(type) {
			case *playbooks.Task:
				if n.Role != nil && slices.Contains(want, n.Role.Name) && !slices.Contains(got, n.Role.Name) {
					got = append(got, n.Role.Name)
				}
			case *playbooks.Block:
				visit(slices.Concat(n.Main, n.Rescue, n.Always))
			}
		}
	}
	for _, p := range pb.Plays {
		visit(slices.Concat(p.PreTasks, p.Tasks, p.PostTasks))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the roles come as %v, want %v", got, want)
	}
}
