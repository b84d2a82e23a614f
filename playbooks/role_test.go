package playbooks

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/value"
)

// order lists the names of tasks in the order they run; what a role brings ends with a semicolon.
func order(nodes []Node) string {
	var b strings.Builder
	for _, n := range nodes {
		switch n := n.(type) {
		case *Block:
			b.WriteString("[" + order(n.Main) + "]")
		case *Task:
			if n.Implicit {
				b.WriteString(";")
				continue
			}
			b.WriteString(" " + n.FullName().Text())
		}
	}
	return strings.TrimSpace(b.String())
}

func roleOf(name string) (string, string) {
	return "main/roles/" + name + "/tasks/main.yml", "- {name: t, debug: }\n"
}

func TestDependenciesComeFirstAndUsesAreTold(t *testing.T) {
	files := map[string]string{
		"main/roles/b/meta/main.yml": "dependencies: [a, {role: a, n: 1}]\n",
		"main/roles/c/meta/main.yml": "allow_duplicates: true\ndependencies:\n  - role: b\n",
		"main/playbook.yml": `
- hosts: all
  roles: [c, a, {role: a, n: 1}, {role: a, n: 2}, {role: a, when: x}, {role: a, tags: x}, {role: a, vars: {n: 1}}, b]
  tasks:
    - import_role: {name: a}
    - import_role: {name: a, allow_duplicates: false}
`}
	for _, name := range []string{"a", "b", "c"} {
		file, text := roleOf(name)
		files[file] = text
	}
	pb, _ := mustLoad(t, files)
	p := pb.Plays[0]
	if got, want := order(p.Tasks), "a : t; a : t; b : t; c : t; a : t; a : t; a : t; a : t; a : t; a : t; a : t; a : t; b : t; a : t; a : t;"; got != want {
		t.Errorf("order\n got %s\nwant %s", got, want)
	}
	var keys []string
	for _, n := range p.Tasks {
		if t := n.(*Task); t.Implicit {
			keys = append(keys, t.Role.Key)
		}
	}
	// The same use: a as a dependency of c's b and of the last b, and as itself; {a, n: 1} likewise; b and b; both imports.
	for name, same := range map[string][]int{"a": {0, 4, 10}, "a n=1": {1, 5, 11}, "b": {2, 12}, "import": {13, 14}} {
		for i := range keys {
			if slices.Contains(same, i) != (keys[i] == keys[same[0]]) {
				t.Errorf("use %d of a role and the use %q: the keys %q and %q", i, name, keys[i], keys[same[0]])
			}
		}
	}
	var allowed []bool
	for _, r := range p.Roles {
		allowed = append(allowed, r.AllowDuplicates)
	}
	if want := []bool{true, false, false, false, false, false, false, false, true, false}; !slices.Equal(allowed, want) {
		t.Errorf("duplicates allowed: %v, want %v", allowed, want)
	}
}

func TestRoleVariables(t *testing.T) {
	pb, _ := mustLoad(t, map[string]string{
		"main/roles/dep/defaults/main.yml":     "x: dep default\n",
		"main/roles/dep/vars/main.yml":         "x: dep vars\n",
		"main/roles/dep/tasks/main.yml":        "- {name: of dep, debug: }\n",
		"main/roles/top/meta/main.yml":         "dependencies: [{role: dep, param: of dep}]\n",
		"main/roles/top/defaults/main.yaml":    "x: top default\n",
		"main/roles/top/vars/main/1.yml":       "x: first\ny: 1\n",
		"main/roles/top/vars/main/2.json":      `{"x": "second"}`,
		"main/roles/top/vars/main/sub/3.yml":   "z: 3\n",
		"main/roles/top/vars/main/ignored.txt": "w: 1\n",
		"main/roles/top/tasks/main.yml":        "- {name: of top, debug: }\n",
		"main/playbook.yml":                    "- hosts: all\n  roles: [{role: top, param: of top, other: '{{ o }}', vars: {x: entry}}]\n",
	})
	p := pb.Plays[0]
	top, dep := taskNamed(t, p.Tasks, "of top"), taskNamed(t, p.Tasks, "of dep")
	for name, c := range map[string]struct {
		layers []*value.Vars
		want   string
	}{
		"defaults of top": {top.Role.DefaultVars(), "x:dep default|x:top default"},
		"vars of top":     {top.Role.RoleVars(), "|x:dep vars|x:entry|x:second,y:1,z:3"},
		"params of top":   {top.Role.RoleParams(), "param:of top,other:"},
		"defaults of dep": {dep.Role.DefaultVars(), "x:top default|x:dep default"},
		"vars of dep":     {dep.Role.RoleVars(), "x:entry|x:second,y:1,z:3||x:dep vars"},
		"params of dep":   {dep.Role.RoleParams(), "param:of top,other:|param:of dep"},
	} {
		texts := make([]string, len(c.layers))
		for i, l := range c.layers {
			texts[i] = dictText(l.Dict())
			if at := strings.Index(texts[i], "other:"); at >= 0 {
				texts[i] = texts[i][:at+len("other:")]
			}
		}
		if got := strings.Join(texts, "|"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if len(p.Roles) != 1 || p.Roles[0] != top.Role || dep.Role.Parents[0] != top.Role || top.Role.Dependencies[0] != dep.Role {
		t.Error("the roles are not tied to each other")
	}
}

func TestRoleHandlers(t *testing.T) {
	pb, _ := mustLoad(t, map[string]string{
		"main/roles/a/handlers/main.yml":  "- {name: h, debug: }\n",
		"main/roles/b/meta/main.yml":      "dependencies: [a]\n",
		"main/roles/b/handlers/main.yml":  "- {name: h, debug: , listen: [topic]}\n- import_tasks: more.yml\n",
		"main/roles/b/handlers/more.yml":  "- {name: more, debug: }\n",
		"main/roles/c/tasks/main.yml":     "- {name: t, debug: }\n",
		"main/roles/c/handlers/main.yml":  "- {name: h, debug: }\n",
		"main/roles/c/handlers/other.yml": "- {name: other, debug: }\n",
		"main/playbook.yml": `
- hosts: all
  roles: [b]
  tasks:
    - import_role: {name: c, handlers_from: other}
    - import_role: {name: c}
  handlers:
    - {name: of the play, debug: }
    - {name: "h {{ x }}", debug: }
`})
	handlers := pb.Plays[0].Handlers
	names := make([]string, len(handlers))
	for i, h := range handlers {
		names[i] = h.FullName().Text()
	}
	want := []string{"a : h", "b : h", "b : more", "of the play", "h {{ x }}", "c : other", "c : h"}
	if !slices.Equal(names, want) {
		t.Errorf("handlers %q, want %q", names, want)
	}
	render := func(value.Template) (any, error) { return "h 1", nil }
	for notified, want := range map[string]string{"h": "a : h,b : h,c : h", "b : h": "b : h", "topic": "b : h", "h 1": "h {{ x }}", "c : other": "c : other", "nothing": ""} {
		var got []string
		for _, h := range handlers {
			ok, err := h.Answers(notified, render)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				got = append(got, h.FullName().Text())
			}
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%q is answered by %q, want %q", notified, got, want)
		}
	}
}

func TestArgumentSpecsAreValidated(t *testing.T) {
	files := map[string]string{
		"main/roles/r/meta/main.yml":  "argument_specs: {main: {short_description: short, options: {n: {type: int}}}, other: {}}\n",
		"main/roles/r/tasks/main.yml": "- {name: t, debug: }\n", "main/roles/r/tasks/other.yml": "- {name: o, debug: }\n",
		"main/playbook.yml": `
- hosts: all
  roles: [{role: r, n: 5, tags: x}]
  tasks:
    - import_role: {name: r, tasks_from: other.yml}
    - import_role: {name: r, rolespec_validate: no}
`}
	pb, _ := mustLoad(t, files)
	want := "r : Validating arguments against arg spec 'main' - short r : t; r : Validating arguments against arg spec 'other' r : o; r : t;"
	if got := order(pb.Plays[0].Tasks); got != want {
		t.Errorf("order\n got %s\nwant %s", got, want)
	}
	task := pb.Plays[0].Tasks[0].(*Task)
	if got, want := settingsText(task.Tags), "always,x"; got != want {
		t.Errorf("tags %s, want %s", got, want)
	}
	provided, _ := task.Args.Var("provided_arguments")
	if got := dictText(provided.(*value.Dict)); got != "n:5" || task.Module != "validate_argument_spec" || task.Spec == nil {
		t.Errorf("%s with %s", task.Module, got)
	}
}

func TestRolesAreFoundWhereAnsibleLooks(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, place := range []string{"play/roles/beside", "play/here", "shared/shared", "shared/both", "play/roles/both", "elsewhere/absolute", "shared/sibling"} {
		write(place+"/tasks/main.yml", "- {name: "+place+", debug: }\n")
	}
	write("shared/shared/meta/main.yml", "dependencies: [sibling]\n")
	write("play/site.yml", "- hosts: all\n  roles: [beside, here, both, shared, '"+root+"/elsewhere/absolute', ../elsewhere/absolute]\n")
	l := &Loader{Modules: testModules, RolesPath: []string{filepath.Join(root, "shared")}}
	pb, err := l.Load(filepath.Join(root, "play/site.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var names, paths []string
	for _, n := range pb.Plays[0].Tasks {
		if task := n.(*Task); !task.Implicit {
			names, paths = append(names, task.Name.Text()), append(paths, strings.TrimPrefix(task.Role.Path, root+"/"))
		}
	}
	want := []string{"play/roles/beside", "play/here", "play/roles/both", "shared/sibling", "shared/shared", "elsewhere/absolute", "elsewhere/absolute"}
	if !slices.Equal(names, want) || !slices.Equal(paths, want) {
		t.Errorf("tasks %q, paths %q, want %q", names, paths, want)
	}
	if got := pb.Plays[0].Roles[4].Name; got != "absolute" {
		t.Errorf("a role named by its path is called %q", got)
	}
}
