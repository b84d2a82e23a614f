package vars_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/tasks"
)

// A setUp is a txtar file: an inventory, play.yml with one play, and what a run would have learnt by then (facts.yml,
// set_fact.yml, include_vars.yml: by host; extra.yml). The lines above the files say which sources to load (-i), from
// which hosts to look (host), and which templates to render there (=) as the task called "here" would.
type setUp struct {
	Sources []string `json:"sources"`
	Hosts   []string `json:"hosts"`
	Exprs   []string `json:"exprs"`
	Dir     string   `json:"dir"`
	name    string
}

// oracle renders the templates with ansible-core, as a library.
const oracle = `
import sys, os, json, datetime
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
context.CLIARGS = ImmutableDict(check=False, diff=False, forks=5, inventory=None, skip_tags=(), subset=None, tags=("all",), verbosity=0)
from ansible.utils.display import Display
Display.warning = Display.deprecated = lambda *a, **k: None
from ansible.parsing.dataloader import DataLoader
from ansible.inventory.manager import InventoryManager
from ansible.vars.manager import VariableManager
from ansible.vars.hostvars import HostVars
from ansible.playbook.play import Play
from ansible.playbook.block import Block
from ansible.template import Templar
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.utils.vars import load_options_vars
from ansible.cli import CLI

def tasks(nodes):
    for n in nodes:
        if isinstance(n, Block):
            yield from tasks(n.block)
        else:
            yield n

def plain(v):
    if isinstance(v, (datetime.date, datetime.datetime)): return str(v)
    if hasattr(v, "keys"): return {k: plain(v[k]) for k in v}
    if isinstance(v, (list, tuple)): return [plain(e) for e in v]
    return v

out = []
for case in json.load(sys.stdin):
    os.chdir(case["dir"])
    loader = DataLoader()
    loader.set_basedir(case["dir"])
    inv = InventoryManager(loader=loader, sources=[s if "," in s else os.path.abspath(s) for s in case["sources"]])
    vm = VariableManager(loader=loader, inventory=inv, version_info=CLI.version_info(gitinfo=False))
    def read(name):
        return loader.load_from_file(name) or {} if os.path.exists(name) else {}
    vm._extra_vars = read("extra.yml")
    HostVars(inventory=inv, variable_manager=vm, loader=loader)
    play = Play.load(loader.load_from_file("play.yml")[0], variable_manager=vm, loader=loader)
    hosts = inv.get_hosts(play.hosts)
    for host, facts in read("facts.yml").items(): vm.set_host_facts(host, facts)
    for host, facts in read("set_fact.yml").items(): vm.set_nonpersistent_facts(host, facts)
    for host, included in read("include_vars.yml").items():
        for k, v in included.items(): vm.set_host_variable(host, k, v)
    here = [t for t in tasks(play.compile()) if t.name == "here"][0]
    res = []
    for name in case["hosts"]:
        v = vm.get_vars(play=play, host=inv.get_host(name), task=here, _hosts=[h.name for h in hosts], _hosts_all=[h.name for h in hosts])
        for e in case["exprs"]:
            templar = Templar(loader=loader, variables=v)
            try:
                res.append({"value": plain(templar.template(e))})
            except AnsibleUndefinedVariable as err:
                res.append({"error": "recursive" if "recursive" in str(err) else "undefined"})
            except (AnsibleError, RecursionError) as err:
                res.append({"error": "recursive" if "recursive" in str(err) else "error"})
    out.append(res)
json.dump(out, sys.stdout, default=str)
`

type rendered struct {
	Value any    `json:"value"`
	Error string `json:"error"`
}

func TestVariablesHaveTheValuesThatAnsibleGivesThem(t *testing.T) {
	cases := append(setUps(t), levels(t))
	if len(cases) < 25 {
		t.Fatalf("only %d cases", len(cases))
	}
	answers := askAnsible(t, cases)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(c.Dir)
			j := 0
			for _, host := range c.Hosts {
				scope := c.scope(t, host)
				for _, e := range c.Exprs {
					if got := render(scope, e); !reflect.DeepEqual(got, answers[i][j]) {
						t.Errorf("%s: %s\ngot  %s\nwant %s", host, e, asJSON(got), asJSON(answers[i][j]))
					}
					j++
				}
			}
		})
	}
}

func asJSON(v any) string {
	raw, _ := json.Marshal(v) // plain data
	return string(raw)
}

// render is what scope makes of a template, as the oracle gives it.
func render(scope *vars.Scope, text string) rendered {
	v, err := scope.Render(value.FromText(text, source.Pos{File: "test", Line: 1, Col: 1}))
	var undefined *expr.Undefined
	switch {
	case err != nil && strings.Contains(err.Error(), "recursive loop"):
		return rendered{Error: "recursive"}
	case errors.As(err, &undefined):
		return rendered{Error: "undefined"}
	case err != nil:
		return rendered{Error: "error: " + err.Error()}
	}
	var out any
	raw, err := json.Marshal(jsonable(v))
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return rendered{Error: "error: " + err.Error()}
	}
	return rendered{Value: out}
}

func jsonable(v any) any {
	switch v := v.(type) {
	case time.Time:
		return value.TimeString(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonable(v[i])
		}
		return out
	case *value.Dict:
		out := map[string]any{}
		for k, e := range v.All() {
			out[value.KeyString(k)] = jsonable(e)
		}
		return out
	}
	return v
}

// scope is how the task called "here" sees variables on a host.
func (c setUp) scope(t *testing.T, host string) *vars.Scope {
	t.Helper()
	inv, err := inventory.Load(t.Context(), c.Sources)
	must(t, err)
	loader := &playbooks.Loader{Modules: anyModule{}}
	book, err := loader.Load("play.yml")
	must(t, err)
	def := book.Plays[0]
	world := vars.New(vars.Options{Inventory: inv, Env: expr.New(expr.Options{}), Extra: readVars(t, "extra.yml"), Magic: value.NewDict(
		"ansible_check_mode", false, "ansible_diff_mode", false, "ansible_forks", 5, "ansible_verbosity", 0,
		"ansible_run_tags", []any{"all"}, "ansible_skip_tags", []any{}, "ansible_version", ansibleVersion())})
	world.StartPlaybook(c.Dir)
	play := vars.Play{Name: def.Title(), Vars: def.Vars}
	for _, r := range def.Roles {
		play.Roles = append(play.Roles, roleVars(r))
	}
	for _, alternatives := range def.VarsFiles {
		play.Files = append(play.Files, readVars(t, alternatives[0].Text()))
	}
	world.StartPlay(play)
	world.SetHosts(matched(t, inv, def))
	eachHost(t, "facts.yml", func(name string, d *value.Dict) { world.Host(name).AddFacts(d) })
	eachHost(t, "set_fact.yml", func(name string, d *value.Dict) { world.Host(name).SetFacts(d) })
	eachHost(t, "include_vars.yml", func(name string, d *value.Dict) { world.Host(name).IncludeVars(d) })
	task := here(def.PreTasks, def.Tasks, def.PostTasks)
	if task == nil {
		t.Fatal("no task is called here")
	}
	at := vars.Task{Vars: task.Vars, Include: task.IncludeVars}
	if task.Role != nil {
		at.Role = new(roleVars(task.Role))
	}
	return world.Host(host).Task(at)
}

func roleVars(r *playbooks.Role) vars.Role {
	out := vars.Role{Name: r.Name, Path: r.Path, Defaults: r.DefaultVars(), Vars: r.RoleVars(), Params: r.RoleParams()}
	for _, p := range r.Parents {
		out.Parents = append(out.Parents, p.Name)
	}
	for _, d := range r.Dependencies { // the cases go no deeper
		out.Dependencies = append(out.Dependencies, d.Name)
	}
	return out
}

func matched(t *testing.T, inv *inventory.Inventory, def *playbooks.Play) []string {
	t.Helper()
	hosts, err := inv.Match(def.Hosts[0].Text())
	must(t, err)
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	return names
}

func here(sections ...[]playbooks.Node) *playbooks.Task {
	for _, nodes := range sections {
		for _, n := range nodes {
			switch n := n.(type) {
			case *playbooks.Task:
				if n.Name.Text() == "here" {
					return n
				}
			case *playbooks.Block:
				if t := here(n.Main); t != nil {
					return t
				}
			}
		}
	}
	return nil
}

func readVars(t *testing.T, file string) *value.Vars {
	t.Helper()
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(t, err)
	v, _, err := value.ReadVars(file, text)
	must(t, err)
	return v
}

// eachHost goes through a file of what hosts answered: data, whose text is never rendered.
func eachHost(t *testing.T, file string, do func(name string, d *value.Dict)) {
	t.Helper()
	v := readVars(t, file)
	for _, name := range v.Names() {
		d, _ := v.Var(name)
		do(name, data(d).(*value.Dict))
	}
}

func data(v any) any {
	switch v := v.(type) {
	case value.Template:
		return v.Text
	case *value.Dict:
		out := value.NewDict()
		for k, e := range v.All() {
			out.Set(k, data(e))
		}
		return out
	}
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// anyModule lets a playbook use debug, whatever its arguments.
type anyModule struct{}

func (anyModule) Lookup(name string) (*tasks.Spec, bool) { return tasks.SpecOf(new(debug)), true }
func (anyModule) Names() []string                        { return []string{"debug"} }

type debug struct{}

func (*debug) Run(context.Context, *tasks.Sys) (tasks.Result, error) { return tasks.Result{}, nil }

func setUps(t *testing.T) []setUp {
	t.Helper()
	files, err := filepath.Glob("testdata/ansible/*.txtar")
	must(t, err)
	var cases []setUp
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		must(t, err)
		c := setUp{Dir: realTempDir(t), name: strings.TrimSuffix(filepath.Base(file), ".txtar")}
		for _, f := range ar.Files {
			write(t, filepath.Join(c.Dir, f.Name), string(f.Data))
		}
		for line := range strings.Lines(string(ar.Comment)) {
			c.read(t, strings.TrimSpace(line))
		}
		cases = append(cases, c)
	}
	return cases
}

func realTempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	return dir
}

func (c *setUp) read(t *testing.T, line string) {
	t.Helper()
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "-i":
		c.Sources = append(c.Sources, rest)
	case "host":
		c.Hosts = append(c.Hosts, rest)
	case "=":
		c.Exprs = append(c.Exprs, rest)
	case "":
	default:
		t.Fatalf("%s: cannot read %q", c.name, line)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

// levels is every pair of the places where a variable can be set: the variable p_3_7 is set in places 3 and 7, so what it
// is says which of the two wins.
func levels(t *testing.T) setUp {
	t.Helper()
	c := setUp{Dir: realTempDir(t), name: "every-pair-of-levels", Sources: []string{"inv/hosts.yml"}, Hosts: []string{"h"}}
	files := []string{"roles/other/defaults/main.yml", "roles/own/defaults/main.yml", "inv.all", "inv.web", "inv/group_vars/all.yml", "group_vars/all.yml",
		"inv/group_vars/web.yml", "group_vars/web.yml", "inv.host", "inv/host_vars/h.yml", "host_vars/h.yml", "facts.yml", "play", "vars_file.yml",
		"other.use", "roles/other/vars/main.yml", "own.use", "roles/own/vars/main.yml", "block", "task", "include_vars.yml", "set_fact.yml", "own.params", "extra.yml"}
	text := make([]string, len(files))
	for j := range files {
		for i := range j {
			name := fmt.Sprintf("p_%d_%d", i, j)
			text[i] += fmt.Sprintf("%s: %q, ", name, files[i])
			text[j] += fmt.Sprintf("%s: %q, ", name, files[j])
			c.Exprs = append(c.Exprs, "{{ "+name+" }}")
		}
	}
	places := map[string]string{}
	for i, f := range files {
		places[f] = strings.TrimSuffix(text[i], ", ")
		switch {
		case f == "facts.yml" || f == "set_fact.yml" || f == "include_vars.yml":
			write(t, filepath.Join(c.Dir, f), "h: {"+places[f]+"}\n")
		case strings.HasSuffix(f, ".yml"):
			write(t, filepath.Join(c.Dir, f), "{"+places[f]+"}\n")
		}
	}
	write(t, filepath.Join(c.Dir, "inv/hosts.yml"), fmt.Sprintf("all: {vars: {%s}, children: {web: {vars: {%s}, hosts: {h: {%s}}}}}\n",
		places["inv.all"], places["inv.web"], places["inv.host"]))
	write(t, filepath.Join(c.Dir, "roles/other/tasks/main.yml"), "- debug:\n")
	write(t, filepath.Join(c.Dir, "roles/own/tasks/main.yml"), fmt.Sprintf("- vars: {%s}\n  block:\n  - name: here\n    debug:\n    vars: {%s}\n", places["block"], places["task"]))
	write(t, filepath.Join(c.Dir, "play.yml"), fmt.Sprintf("- hosts: all\n  vars: {%s}\n  vars_files: [vars_file.yml]\n  roles:\n  - {role: other, vars: {%s}}\n  - {role: own, vars: {%s}, %s}\n",
		places["play"], places["other.use"], places["own.use"], places["own.params"]))
	return c
}

func askAnsible(t *testing.T, cases []setUp) [][]rendered {
	t.Helper()
	in, err := json.Marshal(cases)
	must(t, err)
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
	var answers [][]rendered
	must(t, json.Unmarshal(raw, &answers))
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
	must(t, err)
	line, _, _ := strings.Cut(string(text), "\n")
	python, ok := strings.CutPrefix(line, "#!")
	python = strings.TrimSpace(python)
	if !ok || strings.Contains(python, " ") {
		t.Fatalf("%s%s begins with %q, which names no interpreter", missing, path, line)
	}
	return python
}

// ansibleVersion is the version that the oracle answers for; the product says the language version it follows.
func ansibleVersion() *value.Dict {
	return value.NewDict("full", "2.14.18", "major", 2, "minor", 14, "revision", 18, "string", "2.14.18")
}
