package catalog_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/testenv"
)

// What ansible-core leaves out of calico-etcd for want of calroll's modules: what is kept in etcd, and the arguments of components, which
// these hosts have not.
const twinSkips = "etcd_backup,calico_pool,felix_configuration,calico_bgp,kube_proxy_mode"

// answers stand in for calroll's modules that ask and alter nothing: the gates and checks were passed by calroll's own run, and calicoctl is asked as
// calroll would.
const (
	agrees = "#!/usr/bin/python3\nprint('{\"changed\": false}')\n"
	reads  = `#!/usr/bin/python3
import json, subprocess
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"kind": {}, "name": {}, "calicoctl": {}, "config": {}})
p = module.params
argv = [p["calicoctl"], "get", p["kind"]] + ([p["name"]] if p["name"] else []) + ["-o", "json", "--config=" + p["config"]]
done = subprocess.run(argv, capture_output=True, text=True)
if done.returncode and "does not exist" not in done.stderr:
    module.fail_json(msg=done.stderr)
found = json.loads(done.stdout) if done.returncode == 0 else {"items": []}
module.exit_json(changed=False, resources=found.get("items", [found]))
`
	refuses = "#!/usr/bin/python3\nprint('{\"failed\": true, \"msg\": \"ansible-core has no module for this\"}')\n"
)

// twinModules are all that ansible-core has neither itself nor in its collections.
func twinModules() map[string]string {
	all := map[string]string{}
	for _, m := range otherModules {
		all[m] = refuses
	}
	all["gates"], all["checks"], all["calico_resource_info"] = agrees, agrees, reads
	delete(all, "modprobe")
	delete(all, "sysctl")
	return all
}

// twinWatch leaves out what is named after the tool: its own folder of temporary files.
var twinWatch = testenv.Watch{Paths: watched.Paths, Exclude: append([]string{"/root/.ansible"}, watched.Exclude...), Units: watched.Units, Sysctls: watched.Sysctls}

// TestAnsibleEndsInTheSameFiles carries calico-etcd out with ansible-core and its collections, and then with calroll, on a host that was the
// same before, and compares every file, unit and kernel setting. A run of calroll on what ansible-core left finds nothing to change.
func TestAnsibleEndsInTheSameFiles(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 1)
	host := c.lab.Hosts[0]
	c.run(exitOK)
	calrolls := c.twin(host)
	for _, file := range []string{"/etc/systemd/system/calico-node.service", "/etc/calico/calico.env", "/etc/calico/calroll.json", "/etc/cni/net.d/10-calico.conflist", "/opt/cni/bin/calico"} {
		if calrolls["path "+file] == "" {
			t.Errorf("calroll has written no %s to compare", file)
		}
	}
	c.rollback(c.lastRun())

	c.ansible("calico-etcd")
	if diff := calrolls.Diff(c.twin(host)); len(diff) > 0 {
		t.Errorf("ansible-core ends in other files than calroll:\n  %s", strings.Join(diff, "\n  "))
	}
	for name, changed := range c.run(exitOK, "--skip-tags", twinSkips).changed() {
		if changed != "0" {
			t.Errorf("calroll changed %s after ansible-core: %s tasks", name, changed)
		}
	}
}

func (c *network) twin(h *testenv.Host) testenv.Snapshot {
	c.Helper()
	s, err := h.Snapshot(c.Context(), twinWatch)
	if err != nil {
		c.Fatal(err)
	}
	return s
}

// ansible carries an embedded playbook out with ansible-core.
func (c *network) ansible(playbook string) {
	c.Helper()
	dir := ansibleCatalog(c.T, twinModules())
	cmd := exec.CommandContext(c.Context(), "ansible-playbook", "-i", c.lab.InventoryFile(), "--skip-tags", twinSkips, filepath.Join(dir, playbook, playbooks.PlaybookFile))
	cmd.Env = append(ansibleEnv(c.T, dir), "ANSIBLE_PIPELINING=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		c.Fatalf("ansible-playbook %s: %v\n%s", playbook, err, out)
	}
}

// ansibleCatalog is a folder with the catalogue as ansible-core reads it, and with modules that it lacks.
func ansibleCatalog(t *testing.T, modules map[string]string) string {
	t.Helper()
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Fatal("ansible-playbook is missing: install the package ansible-core")
	}
	dir := t.TempDir()
	walk(t, func(name string, text []byte) {
		if strings.HasSuffix(name, ".yml") {
			text = withoutOwn(t, name, text)
		}
		write(t, filepath.Join(dir, name), string(text))
	})
	for name, text := range modules {
		write(t, filepath.Join(dir, "library", name+".py"), text)
	}
	return dir
}

func ansibleEnv(t *testing.T, dir string) []string {
	t.Helper()
	return append(os.Environ(), "ANSIBLE_ROLES_PATH="+filepath.Join(dir, "roles"), "ANSIBLE_LIBRARY="+filepath.Join(dir, "library"), "ANSIBLE_HOME="+t.TempDir())
}
