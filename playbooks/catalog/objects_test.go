package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
)

var sourceOfTest = source.Pos{File: "test"}

// roleScope is how the first task of a role sees the first of two hosts, whatever playbook the role is in.
func roleScope(t *testing.T, env *expr.Env, role, hostVars string, facts ...string) *vars.Scope {
	t.Helper()
	return roleTaskScope(t, env, role, "", hostVars, facts...)
}

// roleTaskScope is how the task called name sees it; without a name the first of the role.
func roleTaskScope(t *testing.T, env *expr.Env, role, name, hostVars string, facts ...string) *vars.Scope {
	t.Helper()
	file := filepath.Join(t.TempDir(), "one.yml")
	write(t, file, "- hosts: all\n  tasks:\n    - import_role: {name: "+role+"}\n")
	pb, err := loader(env).Load(file)
	if err != nil {
		t.Fatal(err)
	}
	task := taskThat(pb, func(t *playbooks.Task) bool {
		return t.Role != nil && t.Role.Name == role && (name == "" || t.Name.Text() == name)
	})
	if task == nil {
		t.Fatalf("the role %s has no task %s", role, name)
	}
	return taskScope(t, env, vars.Play{}, task, pb.Dir, hostVars, facts)
}

func taskScope(t *testing.T, env *expr.Env, play vars.Play, task *playbooks.Task, dir, hostVars string, facts []string) *vars.Scope {
	t.Helper()
	inv := t.TempDir()
	write(t, filepath.Join(inv, "inventory.yml"), "kube_control_plane: {hosts: {node1: {}}}\nkube_node: {hosts: {node2: {}}}\n")
	write(t, filepath.Join(inv, "host_vars", "node1.yml"), hostVars)
	hosts, err := inventory.Load(context.Background(), []string{filepath.Join(inv, "inventory.yml")})
	if err != nil {
		t.Fatal(err)
	}
	world := vars.New(vars.Options{Inventory: hosts, Env: env, Magic: value.NewDict("ansible_check_mode", false)})
	world.StartPlaybook(dir)
	world.StartPlay(play)
	world.SetHosts([]string{"node1", "node2"})
	for _, text := range append([]string{factsOfHost}, facts...) {
		v, _, err := value.ReadVars("facts.yml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d := v.Dict()
		if f, ok := d.At("ansible_facts").(*value.Dict); ok {
			world.Host("node1").AddFacts(f)
		}
		world.Host("node1").SetFacts(d)
	}
	r := task.Role
	return world.Host("node1").Task(vars.Task{Vars: task.Vars, Search: task.SearchDirs,
		Role: &vars.Role{Name: r.Name, Path: r.Path, Defaults: r.DefaultVars(), Vars: r.RoleVars(), Params: r.RoleParams()}})
}

// objects are the documents that a role's template renders to.
func objects(t *testing.T, role, template, hostVars string, facts ...string) []map[string]any {
	t.Helper()
	env := expr.New(expr.Options{})
	file := playbooks.CatalogPrefix + "roles/" + role + "/templates/" + template
	text, err := loader(env).ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := roleScope(t, env, role, hostVars, facts...).RenderFile(string(text), source.Pos{File: file}, nil, expr.TemplateModule())
	if err != nil {
		t.Fatal(err)
	}
	return documents(t, []byte(out))
}

func documents(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	var all []map[string]any
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var one map[string]any
		err := d.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if len(one) > 0 {
			all = append(all, one)
		}
	}
}

// forRelease matches the end of a line that is only there for some releases.
var forRelease = regexp.MustCompile(` #(<|>=)(\d+[.]\d+)$`)

// golden are the objects of testdata/objects/<name>.yaml for a release: lines for other releases are left out, and a kind in the place of an
// apiVersion becomes the version at which that kind must be rendered.
func golden(t *testing.T, name, release string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile("testdata/objects/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if m := forRelease.FindStringSubmatch(line); m != nil {
			older := slices.Index(kubeReleases, release) < slices.IndexFunc(kubeReleases, func(r string) bool { return !olderThan(r, m[2]) })
			if older != (m[1] == "<") {
				continue
			}
		}
		if kind, ok := strings.CutPrefix(line, "apiVersion: "); ok {
			line = "apiVersion: " + wantedAPI(kind, release)
		}
		lines = append(lines, line)
	}
	return documents(t, []byte(strings.Join(lines, "\n")+"\n"))
}

func olderThan(a, b string) bool {
	var aMajor, aMinor, bMajor, bMinor int
	_, _ = fmt.Sscanf(a, "%d.%d", &aMajor, &aMinor) // names of releases are written right
	_, _ = fmt.Sscanf(b, "%d.%d", &bMajor, &bMinor)
	return aMajor < bMajor || aMajor == bMajor && aMinor < bMinor
}

// sameObjects compares objects one by one; rules of roles are compared as sets.
func sameObjects(t *testing.T, what string, got, want []map[string]any) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) {
			t.Errorf("%s: %d objects, want %d", what, len(got), len(want))
			return
		}
		g, w := withRuleSet(got[i]), withRuleSet(want[i])
		if !reflect.DeepEqual(g, w) {
			gt, _ := yaml.Marshal(g) // what was read is written
			wt, _ := yaml.Marshal(w)
			t.Errorf("%s: got\n%s\nwant\n%s", what, gt, wt)
		}
	}
}

// withRuleSet is an object with its rules as sorted lines, one for each group, resource, name and verb.
func withRuleSet(object map[string]any) map[string]any {
	list, ok := object["rules"].([]any)
	if !ok {
		return object
	}
	out := map[string]any{}
	for k, v := range object {
		out[k] = v
	}
	out["rules"] = ruleSet(list)
	return out
}

func ruleSet(rules []any) []string {
	var set []string
	for _, r := range rules {
		rule := r.(map[string]any)
		for _, verb := range words(rule["verbs"]) {
			for _, url := range words(rule["nonResourceURLs"]) {
				set = append(set, url+" "+verb)
			}
			for _, group := range words(rule["apiGroups"]) {
				for _, resource := range words(rule["resources"]) {
					set = append(set, fmt.Sprintf("%s/%s %v %s", group, resource, words(rule["resourceNames"]), verb))
				}
			}
		}
	}
	slices.Sort(set)
	return slices.Compact(set)
}

// playScope is how the tasks of a role see the first of two hosts in the play of a playbook that has the role.
func playScope(t *testing.T, playbook, role, hostVars string, facts ...string) *vars.Scope {
	t.Helper()
	env := expr.New(expr.Options{})
	pb, err := loader(env).Load(playbook)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pb.Plays {
		if task := taskOf(&playbooks.Playbook{Plays: []*playbooks.Play{p}}, role); task != nil {
			return taskScope(t, env, vars.Play{Vars: p.Vars}, task, pb.Dir, hostVars, facts)
		}
	}
	t.Fatalf("%s has no task of the role %s", playbook, role)
	return nil
}
