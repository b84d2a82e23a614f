package catalog_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
)

// ownKeywords are the keywords that calroll adds to Ansible's language.
var ownKeywords = []string{"rollback", "undo"}

// otherModules are modules that ansible-core does not have: calroll's, and those of collections.
var otherModules = []string{"calico_resource", "calico_resource_info", "checks", "containerd_cni", "dns_srv", "etcd", "gates", "ipip_probe", "k8s_can_i", "kube_component", "kube_component_info", "modprobe", "sysctl", "undo_guard"}

// TestAnsibleReadsThePlaybooks: without calroll's own keywords the playbooks are Ansible's language, as ansible-core itself says.
func TestAnsibleReadsThePlaybooks(t *testing.T) {
	modules := map[string]string{}
	for _, m := range otherModules {
		modules[m] = "#!/usr/bin/python3\n"
	}
	dir := ansibleCatalog(t, modules)
	args := []string{"--syntax-check", "-i", "kube_control_plane,kube_node,dcos_agent,dcos_agent_public,"}
	for _, name := range loader(expr.New(expr.Options{})).Catalog() {
		args = append(args, filepath.Join(dir, name, playbooks.PlaybookFile))
	}
	cmd := exec.Command("ansible-playbook", args...)
	cmd.Env = ansibleEnv(t, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("ansible-playbook --syntax-check: %v\n%s", err, out)
	}
}

// withoutOwn is a YAML file without calroll's own keywords.
func withoutOwn(t *testing.T, name string, text []byte) []byte {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	strip(&doc)
	out, err := yaml.Marshal(&doc)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

func strip(n *yaml.Node) {
	if n.Kind == yaml.MappingNode {
		for i := len(n.Content) - 2; i >= 0; i -= 2 {
			if slices.Contains(ownKeywords, n.Content[i].Value) {
				n.Content = slices.Delete(n.Content, i, i+2)
			}
		}
	}
	for _, c := range n.Content {
		strip(c)
	}
}
