package playbooks

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

func TestIncludedTasksTakeOverTheirSurroundings(t *testing.T) {
	pb, l := mustLoad(t, map[string]string{
		"main/playbook.yml": `
- hosts: all
  become: true
  tasks:
    - block:
        - name: inc
          include_tasks:
            file: sub/more.yml
            apply: {become_user: applied, tags: applied, when: applied, vars: {of_apply: 1, v: apply}}
          tags: own
          when: own
          vars: {v: inc}
      when: around
      tags: around
      vars: {v: block, b: 1}
`,
		"main/sub/more.yml": `
- {name: included, debug: , tags: t, when: w, vars: {task: 1}}
- {name: next, include_tasks: beside.yml, vars: {w: 1}}
- import_role: {name: r}
`,
		"main/sub/beside.yml":            "- {name: beside, debug: }\n",
		"main/roles/r/tasks/main.yml":    "- {name: of r, debug: }\n",
		"main/roles/r/handlers/main.yml": "- {name: handler of r, debug: }\n",
	})
	inc := taskNamed(t, pb.Plays[0].Tasks, "inc")
	if got, want := summary(inc), "become=true tags=own,around when=around,own vars=v:inc,b:1"; got != want {
		t.Errorf("the include: %s, want %s", got, want)
	}
	file, err := inc.Include.File.Get(nil, "")
	if err != nil || file != "sub/more.yml" {
		t.Fatalf("the include's file is %q, %v", file, err)
	}
	got, err := l.LoadTasks(file, inc.Inherited())
	if err != nil {
		t.Fatal(err)
	}
	included := taskNamed(t, got.Nodes, "included")
	if got, want := summary(included), "become=true user=applied tags=t,applied,around when=around,applied,w vars=v:apply,b:1,of_apply:1,task:1"; got != want {
		t.Errorf("included\n got %s\nwant %s", got, want)
	}
	if got := dictText(included.IncludeVars.Dict()); got != "v:inc" {
		t.Errorf("include parameters %s", got)
	}
	if included.Included != inc || included.Block != inc.Block || included.Play != pb.Plays[0] || included.Pos.File != CatalogPrefix+"main/sub/more.yml" {
		t.Error("the included task does not know where it is")
	}
	if len(got.Handlers) != 1 || got.Handlers[0].Name.Text() != "handler of r" || len(got.Roles) != 1 || got.Role != nil || len(pb.Plays[0].Handlers) != 0 {
		t.Errorf("it brings %d handlers and %d roles", len(got.Handlers), len(got.Roles))
	}
	next := taskNamed(t, got.Nodes, "next")
	deeper, err := l.LoadTasks("beside.yml", next.Inherited())
	if err != nil {
		t.Fatal(err)
	}
	if got := dictText(deeper.Nodes[0].Common().IncludeVars.Dict()); got != "v:inc,w:1" {
		t.Errorf("parameters of an include in an include: %s", got)
	}
}

func TestIncludeOfAMissingFileSaysWhereItLooked(t *testing.T) {
	pb, l := mustLoad(t, map[string]string{"main/playbook.yml": "- hosts: all\n  roles: [r]\n", "main/roles/r/tasks/main.yml": "- {name: inc, include_tasks: '{{ f }}'}\n"})
	_, err := l.LoadTasks("gone.yml", taskNamed(t, pb.Plays[0].Tasks, "inc").Inherited())
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "calroll:main/roles/r/tasks/main.yml:1:3") || !strings.Contains(err.Error(), "looked in calroll:main/roles/r/tasks, calroll:main/roles/r, calroll:main") {
		t.Error(err)
	}
}

func TestMistakesInIncludedFilesAreAllReported(t *testing.T) {
	pb, l := mustLoad(t, map[string]string{"main/playbook.yml": "- hosts: all\n  tasks: [{name: inc, include_tasks: bad.yml}]\n", "main/bad.yml": "- coppy:\n- {debug: , whenn: a}\n"})
	_, err := l.LoadTasks("bad.yml", taskNamed(t, pb.Plays[0].Tasks, "inc").Inherited())
	if ps := problemsOf(t, err); len(ps) != 2 || ps[1].Pos != (source.Pos{File: "calroll:main/bad.yml", Line: 2, Col: 13}) {
		t.Error(err)
	}
}

func TestIncludedRole(t *testing.T) {
	pb, l := mustLoad(t, map[string]string{
		"main/playbook.yml": `
- hosts: all
  tasks:
    - name: inc
      include_role: {name: "{{ which }}", tasks_from: "{{ os }}", vars_from: special, public: "{{ yes }}", apply: {tags: applied}}
      vars: {given: 1}
      loop: [r]
      loop_control: {loop_var: which}
`,
		"main/roles/r/meta/main.yml":     "dependencies: [dep]\n",
		"main/roles/r/tasks/debian.yml":  "- {name: of r, debug: }\n",
		"main/roles/r/vars/special.yml":  "v: special\n",
		"main/roles/r/vars/main.yml":     "v: main\n",
		"main/roles/r/handlers/main.yml": "- {name: h, debug: }\n",
		"main/roles/dep/tasks/main.yml":  "- {name: of dep, debug: }\n",
	})
	inc := taskNamed(t, pb.Plays[0].Tasks, "inc")
	render := func(tmpl value.Template) (any, error) {
		return map[string]any{"{{ which }}": "r", "{{ os }}": "debian", "{{ yes }}": "yes"}[tmpl.Text], nil
	}
	use, err := inc.Include.Use.Rendered(render)
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.LoadRole(use, inc.Inherited())
	if err != nil {
		t.Fatal(err)
	}
	if order(got.Nodes) != "dep : of dep; r : of r;" || len(got.Handlers) != 1 || len(got.Roles) != 1 || got.Roles[0] != got.Role {
		t.Errorf("it brings %s, %d handlers, %d roles", order(got.Nodes), len(got.Handlers), len(got.Roles))
	}
	if got, want := summary(taskNamed(t, got.Nodes, "of r")), "tags=applied vars=given:1"; got != want {
		t.Errorf("a task of the role: %s, want %s", got, want)
	}
	if dictText(got.Role.FileVars.Dict()) != "v:special" || dictText(got.Role.Vars.Dict()) != "given:1" || !got.Role.AllowDuplicates {
		t.Errorf("vars %s and %s", dictText(got.Role.FileVars.Dict()), dictText(got.Role.Vars.Dict()))
	}
	if name := inc.FullName(); name.Text() != "inc" {
		t.Errorf("its name is %q", name.Text())
	}
	if _, isTemplate := inc.Include.Use.Name.Template(); !isTemplate {
		t.Error("rendering a use has changed the playbook")
	}
}

func TestImportNamesMayBeRendered(t *testing.T) {
	files := fsOf(map[string]string{
		"main/playbook.yml":           "- hosts: all\n  vars: {os: debian}\n  tasks: [{import_tasks: '{{ os }}.yml', vars: {v: 1}}, {import_role: {name: '{{ role }}'}}]\n",
		"main/debian.yml":             "- {name: of debian, debug: }\n",
		"main/roles/r/tasks/main.yml": "- import_tasks: '{{ role_path }}/more.yml'\n",
		"main/roles/r/more.yml":       "- {name: of more, debug: }\n",
	})
	var asked []string
	l := &Loader{Files: Files{Catalog: files}, Modules: testModules, ImportName: func(tmpl value.Template, known *value.Vars) (string, error) {
		asked = append(asked, tmpl.Text+" with "+strings.Join(known.Names(), ","))
		switch tmpl.Text {
		case "{{ os }}.yml":
			os, _ := known.Var("os")
			return os.(string) + ".yml", nil
		case "{{ role_path }}/more.yml":
			path, _ := known.Var("role_path")
			return path.(string) + "/more.yml", nil
		}
		return "", errors.New("'role' is undefined")
	}}
	_, err := l.Load("main")
	if err == nil || !strings.Contains(err.Error(), "cannot use \"{{ role }}\" in import_role: an import is read before there are hosts: 'role' is undefined") {
		t.Error(err)
	}
	if want := []string{"{{ os }}.yml with playbook_dir,os,v", "{{ role }} with playbook_dir,os"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	files["main/playbook.yml"].Data = []byte("- hosts: all\n  roles: [r]\n")
	l = &Loader{Files: l.Files, Modules: testModules, ImportName: l.ImportName}
	pb, err := l.Load("main")
	if err != nil || order(pb.Plays[0].Tasks) != "r : of more;" {
		t.Error(err)
	}
}
