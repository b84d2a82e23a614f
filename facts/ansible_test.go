package facts_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/facts"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/testenv"
)

// On a host of the lab this program is copied there and, called with factsCommand, prints the facts.
const factsCommand = "calroll-facts-test-helper"

func init() {
	if len(os.Args) > 2 && os.Args[1] == factsCommand {
		var args map[string]any
		err := json.Unmarshal([]byte(os.Args[2]), &args)
		if err == nil {
			err = json.NewEncoder(os.Stdout).Encode(gather(args).Vars())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

func gather(args map[string]any) tasks.Result {
	m, errs := tasks.SpecOf(&facts.Setup{}).Decode(args)
	if err := tasks.JoinArgErrors("setup", errs); err != nil {
		return tasks.Failure(err)
	}
	sys := tasks.NewSys(tasks.Options{})
	defer sys.Close()
	return tasks.Run(context.Background(), m, sys)
}

// unlike are facts that need not be what Ansible says, each with its reason.
var unlike = map[string]string{
	"ansible_python":                    "no Python is used",
	"ansible_python_version":            "no Python is used",
	"ansible_selinux_python_present":    "tells whether Ansible's library is there; ours needs none",
	"ansible_date_time":                 "moves",
	"ansible_loadavg":                   "moves",
	"ansible_uptime_seconds":            "moves",
	"ansible_memfree_mb":                "moves",
	"ansible_memory_mb":                 "moves",
	"ansible_env":                       "another process",
	"ansible_local":                     "warnings name other files",
	"ansible_mounts":                    "sizes move; compared below",
	"ansible_interfaces":                "in any order; compared below",
	"ansible_virtualization_tech_guest": "in any order; compared below",
	"ansible_virtualization_tech_host":  "in any order; compared below",
	"ansible_all_ipv4_addresses":        "in any order; compared below",
	"ansible_all_ipv6_addresses":        "in any order; compared below",
	"ansible_system_capabilities":       "Ansible's is a piece of what capsh prints, which changed its form",
	"ansible_distribution_version":      "for Debian Ansible answers 12 or 12.15 by the version of its Python library; ours is os-release's, 12",
	"ansible_virtualization_type":       "Ansible asks /proc/1/cgroup and the container variable in an order of its own: docker or container; both are in the list",
	"discovered_interpreter_python":     "no Python is used",
}

// sortedFacts are compared as sets.
var sortedFacts = []string{"ansible_interfaces", "ansible_virtualization_tech_guest", "ansible_virtualization_tech_host", "ansible_all_ipv4_addresses", "ansible_all_ipv6_addresses"}

// TestSameAsAnsibleOnHost compares all facts of a host with those of Ansible.
func TestSameAsAnsibleOnHost(t *testing.T) {
	lab := testenv.ForTest(t, 1)
	h := lab.Hosts[0]
	if _, err := h.Sh(t.Context(), `mkdir -p /etc/ansible/facts.d
printf '[a]\nX=1\ny : two words\n' >/etc/ansible/facts.d/ini.fact
echo '{"n": 5, "f": 1.5, "l": [1, null]}' >/etc/ansible/facts.d/js.fact
printf '#!/bin/sh\necho "{\\"run\\": true}"\n' >/etc/ansible/facts.d/run.fact
chmod 755 /etc/ansible/facts.d/run.fact
ip link add name more type dummy 2>/dev/null || true
ip addr add 10.99.0.1/24 dev docker0 || true
ip addr add 10.99.1.1/24 dev docker0 label docker0:7 || true`); err != nil {
		t.Fatal(err)
	}
	theirs := ansibleFacts(t, "-i", lab.InventoryFile(), h.Name)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	const path = "/usr/local/bin/" + factsCommand
	if err := h.WriteFile(t.Context(), path, 0o755, program); err != nil {
		t.Fatal(err)
	}
	out, err := h.Output(t.Context(), path, factsCommand, "{}")
	if err != nil {
		t.Fatal(err)
	}
	var ours struct {
		Facts    map[string]any `json:"ansible_facts"`
		Warnings []string
	}
	if err := json.Unmarshal([]byte(out), &ours); err != nil {
		t.Fatal(err)
	}
	if len(ours.Warnings) > 0 {
		t.Errorf("warnings: %v", ours.Warnings)
	}
	compare(t, ours.Facts, theirs)
	if !reflect.DeepEqual(ours.Facts["ansible_local"], theirs["ansible_local"]) {
		t.Errorf("local: %v, Ansible's %v", ours.Facts["ansible_local"], theirs["ansible_local"])
	}
}

// TestSameAsAnsibleHere compares this machine's facts, which has other devices and interfaces than a host of the lab.
func TestSameAsAnsibleHere(t *testing.T) {
	theirs := ansibleFacts(t, "-i", "localhost,", "-c", "local", "localhost")
	compare(t, plain(t, gather(nil).Vars()["ansible_facts"]), theirs)
}

func plain(t *testing.T, v any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func ansibleFacts(t *testing.T, args ...string) map[string]any {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("ansible", append([]string{"-m", "setup", "--tree", dir}, args...)...)
	cmd.Env = append(os.Environ(), "ANSIBLE_PIPELINING=1", "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ansible is needed to compare with (apt-get install ansible-core): %v\n%s", err, out)
	}
	raw, err := os.ReadFile(filepath.Join(dir, args[len(args)-1]))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Facts map[string]any `json:"ansible_facts"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return r.Facts
}

// ephemeral tells that a fact is about an interface of a container, which may come and go between two looks.
func ephemeral(name string) bool {
	return strings.HasPrefix(name, "ansible_veth") || strings.HasPrefix(name, "ansible_br_") || strings.HasPrefix(name, "veth") || strings.HasPrefix(name, "br-")
}

func compare(t *testing.T, ours, theirs map[string]any) {
	t.Helper()
	names := maps.Clone(theirs)
	maps.Copy(names, ours)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		our, has := ours[name]
		their, theyHave := theirs[name]
		switch {
		case unlike[name] != "" || ephemeral(name):
		case !has:
			t.Errorf("%s is missing; Ansible's is %v", name, their)
		case !theyHave:
			t.Errorf("%s is %v, which Ansible does not have", name, our)
		case !reflect.DeepEqual(our, their):
			t.Errorf("%s is\n%v, Ansible's\n%v", name, our, their)
		}
	}
	for _, name := range sortedFacts {
		if our, their := set(ours[name]), set(theirs[name]); !slices.Equal(our, their) && !strings.HasPrefix(name, "ansible_all_") || !hasMost(our, their) {
			t.Errorf("%s is %v, Ansible's %v", name, our, their)
		}
	}
	compareMounts(t, ours["ansible_mounts"], theirs["ansible_mounts"])
}

func set(v any) []string {
	var out []string
	for _, e := range v.([]any) {
		if s := fmt.Sprint(e); !ephemeral(s) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

// hasMost allows for addresses of interfaces that come and go.
func hasMost(a, b []string) bool {
	same := 0
	for _, s := range a {
		if slices.Contains(b, s) {
			same++
		}
	}
	return 2*same >= max(len(a), len(b))
}

// lasting are mounts but for those of containers, which come and go between two looks.
func lasting(mounts any) []any {
	return slices.DeleteFunc(slices.Clone(mounts.([]any)), func(m any) bool {
		where, _ := m.(map[string]any)["mount"].(string)
		return strings.HasPrefix(where, "/var/lib/docker/")
	})
}

func compareMounts(t *testing.T, ours, theirs any) {
	t.Helper()
	our, their := lasting(ours), lasting(theirs)
	if len(our) != len(their) {
		t.Errorf("%d mounts: %v\nAnsible's %d: %v", len(our), our, len(their), their)
		return
	}
	for i := range our {
		o, th := our[i].(map[string]any), their[i].(map[string]any)
		for _, k := range []string{"mount", "device", "fstype", "options", "uuid", "size_total", "block_size", "block_total", "inode_total"} {
			if !reflect.DeepEqual(o[k], th[k]) {
				t.Errorf("mount %v: %s is %v, Ansible's %v", o["mount"], k, o[k], th[k])
			}
		}
		if !slices.Equal(slices.Sorted(maps.Keys(o)), slices.Sorted(maps.Keys(th))) {
			t.Errorf("mount %v: has %v, Ansible's %v", o["mount"], slices.Sorted(maps.Keys(o)), slices.Sorted(maps.Keys(th)))
		}
	}
}

// TestSubsets compares which facts each gather_subset and filter gives.
func TestSubsets(t *testing.T) {
	subsets := []string{"!all", "!all,!min", "min", "hardware,!min", "network,!min", "virtual,!min", "!all,!min,interfaces", "!all,!min,chroot", "!all,!min,machine_id", "!all,!min,processor", "!all,!min,service_mgr",
		"!all,!min,os_family", "!all,!min,loadavg", "!hardware", "!nonsense", "all,!network", "all,!hardware,!virtual", "!min", "!all,!min,pkg_mgr", "!all,!min,nvme", "!all,hardware", "network,!min,!distribution"}
	dir := t.TempDir()
	var plays []any
	for _, s := range subsets {
		plays = append(plays, map[string]any{"setup": map[string]any{"gather_subset": s}, "name": s})
	}
	raw, err := json.Marshal([]any{map[string]any{"hosts": "localhost", "connection": "local", "gather_facts": false, "tasks": plays}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "play.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ansible-playbook", "-i", "localhost,", file)
	cmd.Env = append(os.Environ(), "ANSIBLE_STDOUT_CALLBACK=json", "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3")
	out, err := cmd.Output()
	var report struct {
		Plays []struct {
			Tasks []struct{ Hosts map[string]map[string]any }
		}
	}
	if jerr := json.Unmarshal(out, &report); jerr != nil {
		t.Fatalf("ansible-playbook: %v %v\n%s", err, jerr, out)
	}
	for i, s := range subsets {
		their := factNames(report.Plays[0].Tasks[i].Hosts["localhost"]["ansible_facts"].(map[string]any))
		our := factNames(gather(map[string]any{"gather_subset": s}).Facts)
		if !slices.Equal(our, their) {
			t.Errorf("%s gives\n%v, with Ansible\n%v", s, our, their)
		}
	}
}

func factNames(facts map[string]any) []string {
	var names []string
	for n := range facts {
		if !strings.Contains(n, "python") && !ephemeral(n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		filter string
		want   []string
	}{
		{"ansible_kernel", []string{"ansible_kernel"}}, {"kernel", []string{"ansible_kernel"}}, {"*_mb", []string{"ansible_memfree_mb", "ansible_memory_mb", "ansible_memtotal_mb", "ansible_swapfree_mb", "ansible_swaptotal_mb"}},
		{"nothing", nil}, {"ansible_user_[ug]id,system", []string{"ansible_system", "ansible_user_gid", "ansible_user_uid"}},
	} {
		r := gather(map[string]any{"filter": c.filter})
		if got := slices.Sorted(maps.Keys(r.Facts)); !slices.Equal(got, c.want) {
			t.Errorf("%s gives %v, want %v (%s)", c.filter, got, c.want, r.Msg)
		}
	}
	if r := gather(map[string]any{"filter": "[z-"}); !r.Failed {
		t.Error("a bad pattern is no mistake")
	}
	if r := gather(map[string]any{"gather_subset": "netwrk"}); !r.Failed || !strings.Contains(r.Msg, "did you mean network") {
		t.Errorf("a bad subset: %q", r.Msg)
	}
}

// BenchmarkGather collects all facts.
func BenchmarkGather(b *testing.B) {
	for b.Loop() {
		gather(nil)
	}
}

// TestScriptThatHangs shows that one collector that takes too long costs only its own facts.
func TestScriptThatHangs(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "slow.fact"), []byte("#!/bin/sh\nsleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := gather(map[string]any{"gather_timeout": 1, "fact_path": dir})
	if r.Failed || r.Facts["ansible_kernel"] == nil {
		t.Errorf("the other facts are missing: %+v", r)
	}
	if len(r.Warnings) == 0 || time.Since(start) > 20*time.Second {
		t.Errorf("after %s: %v", time.Since(start), r.Warnings)
	}
}
