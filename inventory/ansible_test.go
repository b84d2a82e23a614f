package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/calroll/calroll/playbooks/value"
)

// A case is a txtar file: files, and above them lines saying which sources to load (-i), which folder the playbook
// lies in, and which patterns to match (match PATTERN [limit PATTERN] [order ORDER]).
type ansibleCase struct {
	Sources  []string       `json:"sources"`
	Playbook string         `json:"playbook"`
	Matches  []ansibleMatch `json:"matches"`
	Dir      string         `json:"dir"`
	name     string
}

type ansibleMatch struct {
	Pattern string `json:"pattern"`
	Limit   string `json:"limit"`
	Order   string `json:"order"`
}

type answer struct {
	Hosts  map[string]hostAnswer `json:"hosts"`
	Groups map[string][]string   `json:"groups"`
	Match  [][]string            `json:"match"`
}

type hostAnswer struct {
	Vars       map[string]any `json:"vars"`
	GroupNames []string       `json:"group_names"`
	Short      string         `json:"short"`
}

// oracle asks ansible-core, as a library, what each case means.
const oracle = `
import sys, os, json, datetime
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
context.CLIARGS = ImmutableDict()
from ansible.utils.display import Display
Display.warning = lambda *a, **k: None
from ansible.parsing.dataloader import DataLoader
from ansible.inventory.manager import InventoryManager
from ansible.vars.manager import VariableManager
import ansible.constants as C
MAGIC = ("inventory_file inventory_dir inventory_hostname inventory_hostname_short group_names omit playbook_dir ansible_playbook_python"
  " groups ansible_facts environment ansible_version ansible_config_file ansible_local ansible_python_interpreter").split()
out = []
for case in json.load(sys.stdin):
    os.chdir(case["dir"])
    loader = DataLoader()
    loader.set_basedir(os.path.abspath(case["playbook"] or "nowhere"))
    inv = InventoryManager(loader=loader, sources=[s if "," in s else os.path.abspath(s) for s in case["sources"]])
    vm = VariableManager(loader=loader, inventory=inv)
    res = {"hosts": {}, "groups": inv.get_groups_dict(), "match": []}
    for m in case["matches"]:
        try:
            inv.subset(m["limit"] or None)
            res["match"].append([h.name for h in inv.get_hosts(m["pattern"], order=m["order"] or None)])
        except Exception as e:
            res["match"].append(["error"])
        inv.subset(None)
    names = list(inv.hosts) + ([] if "localhost" in inv.hosts else ["localhost"])
    for name in names:
        h = inv.get_host(name)
        v = vm.get_vars(host=h, include_hostvars=False)
        res["hosts"][name] = {"vars": {k: e for k, e in v.items() if k not in MAGIC}, "group_names": v["group_names"], "short": v["inventory_hostname_short"]}
    out.append(res)
json.dump(out, sys.stdout, default=lambda v: str(v) if isinstance(v, (datetime.date, datetime.datetime)) else list(v))
`

func TestInventoriesMeanWhatAnsibleSaysTheyMean(t *testing.T) {
	cases := ansibleCases(t)
	if len(cases) < 25 {
		t.Fatalf("only %d cases", len(cases))
	}
	answers := askAnsible(t, cases)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(c.Dir)
			compareAnswers(t, c, ourAnswer(t, c), answers[i])
		})
	}
}

func compareAnswers(t *testing.T, c ansibleCase, got, want answer) {
	t.Helper()
	if !reflect.DeepEqual(got.Groups, want.Groups) {
		t.Errorf("groups:\ngot  %s\nwant %s", asJSON(got.Groups), asJSON(want.Groups))
	}
	for name := range want.Hosts {
		if !reflect.DeepEqual(got.Hosts[name], want.Hosts[name]) {
			t.Errorf("host %s:\ngot  %s\nwant %s", name, asJSON(got.Hosts[name]), asJSON(want.Hosts[name]))
		}
	}
	if len(got.Hosts) != len(want.Hosts) {
		t.Errorf("%d hosts, want %d", len(got.Hosts), len(want.Hosts))
	}
	for i, m := range c.Matches {
		if !reflect.DeepEqual(got.Match[i], want.Match[i]) {
			t.Errorf("%+v:\ngot  %v\nwant %v", m, got.Match[i], want.Match[i])
		}
	}
}

func asJSON(v any) string {
	raw, _ := json.Marshal(v) // plain data
	return string(raw)
}

func ansibleCases(t *testing.T) []ansibleCase {
	t.Helper()
	files, err := filepath.Glob("testdata/ansible/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var cases []ansibleCase
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := ansibleCase{Dir: t.TempDir(), name: strings.TrimSuffix(filepath.Base(file), ".txtar"), Matches: []ansibleMatch{}}
		writeFiles(t, c.Dir, ar)
		for line := range strings.Lines(string(ar.Comment)) {
			c.read(t, strings.Fields(line))
		}
		cases = append(cases, c)
	}
	return cases
}

func (c *ansibleCase) read(t *testing.T, words []string) {
	t.Helper()
	for i := 0; i+1 < len(words); i += 2 {
		arg := words[i+1]
		switch words[i] {
		case "-i":
			c.Sources = append(c.Sources, arg)
		case "playbook":
			c.Playbook = arg
		case "match":
			c.Matches = append(c.Matches, ansibleMatch{Pattern: arg})
		case "limit":
			c.Matches[len(c.Matches)-1].Limit = arg
		case "order":
			c.Matches[len(c.Matches)-1].Order = arg
		default:
			t.Fatalf("%s: cannot read %q", c.name, words)
		}
	}
}

func writeFiles(t *testing.T, dir string, ar *txtar.Archive) {
	t.Helper()
	for _, f := range ar.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(f.Name, ".sh") {
			mode = 0o755
		}
		if err := os.WriteFile(path, f.Data, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func askAnsible(t *testing.T, cases []ansibleCase) []answer {
	t.Helper()
	in, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, ansiblePython(t), "-c", oracle)
	cmd.Env = append(os.Environ(), "ANSIBLE_CONFIG="+filepath.Join(t.TempDir(), "none.cfg"))
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("the comparison needs ansible-core (apt-get install ansible-core): %v\n%s", err, &stderr)
	}
	var answers []answer
	if err := json.Unmarshal(raw, &answers); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return answers
}

// ansiblePython is the interpreter that ansible-core is installed for: the one its commands name.
func ansiblePython(t *testing.T) string {
	t.Helper()
	const missing = "the comparison needs ansible-core (apt-get install ansible-core): "
	path, err := exec.LookPath("ansible-inventory")
	if err != nil {
		t.Fatal(missing, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(missing, err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	python, ok := strings.CutPrefix(line, "#!")
	python = strings.TrimSpace(python)
	if !ok || strings.Contains(python, " ") {
		t.Fatalf("%s%s begins with %q, which names no interpreter", missing, path, line)
	}
	return python
}

func ourAnswer(t *testing.T, c ansibleCase) answer {
	t.Helper()
	inv, err := Load(t.Context(), c.Sources)
	if err != nil {
		t.Fatal(err)
	}
	out := answer{Hosts: map[string]hostAnswer{}, Groups: map[string][]string{}}
	for _, g := range inv.Groups() {
		out.Groups[g.Name] = names(inv.Members(g))
	}
	for _, m := range c.Matches {
		out.Match = append(out.Match, ourMatch(inv, m))
	}
	var playbook *Folder
	if c.Playbook != "" {
		playbook = NewFolder(c.Playbook)
	}
	hosts := inv.Hosts()
	if inv.hostNamed["localhost"] == nil {
		hosts = append(hosts, inv.Host("localhost"))
	}
	for i, h := range hosts {
		name := h.Name
		if i == len(inv.hosts) {
			name = "localhost"
		}
		out.Hosts[name] = hostAnswer{mergedVars(t, inv, h, playbook), h.GroupNames(), h.ShortName()}
	}
	return out
}

func ourMatch(inv *Inventory, m ansibleMatch) []string {
	var limits []string
	if m.Limit != "" {
		limits = []string{m.Limit}
	}
	hosts, err := inv.Match(m.Pattern, limits...)
	if err == nil {
		hosts, err = Order(hosts, m.Order)
	}
	if err != nil {
		return []string{"error"}
	}
	return names(hosts)
}

func names(hosts []*Host) []string {
	out := []string{}
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out
}

// mergedVars merges a host's layers and turns them into what Ansible's JSON looks like.
func mergedVars(t *testing.T, inv *Inventory, h *Host, playbook *Folder) map[string]any {
	t.Helper()
	layers, err := inv.Layers(h, playbook)
	if err != nil {
		t.Fatal(err)
	}
	merged := &value.Vars{}
	for _, l := range layers {
		merged.PutAll(l.Vars)
	}
	var out map[string]any
	raw, err := json.Marshal(jsonable(merged.Dict()))
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func jsonable(v any) any {
	switch v := v.(type) {
	case value.Template:
		return v.Text
	case time.Time:
		return value.TimeString(v)
	case *value.Dict:
		out := map[string]any{}
		for k, e := range v.All() {
			out[value.KeyString(k)] = jsonable(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonable(v[i])
		}
		return out
	}
	return v
}
