package catalog_test

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/catalog"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/cluster"
	"github.com/calroll/calroll/tasks/node"
)

// setup stands in for the module that gathers facts, which needs no arguments here.
type setup struct{}

func (*setup) Run(context.Context, *tasks.Sys) (tasks.Result, error) { return tasks.Result{}, nil }

// loader reads the catalogue as the run command does.
func loader(env *expr.Env) *playbooks.Loader {
	modules := node.Modules().Merge(action.Modules()).Merge(cluster.Modules()).Merge(tasks.Set{"setup": func() tasks.Module { return &setup{} }})
	return &playbooks.Loader{Files: playbooks.Files{Catalog: catalog.FS()}, Modules: playbooks.ModuleSet(modules),
		CheckTemplate: env.Check, CheckCondition: env.CheckCondition}
}

// TestPlaybooksLoad reads every playbook strictly: unknown keywords, modules, arguments and mistakes in templates are errors.
func TestPlaybooksLoad(t *testing.T) {
	l := loader(expr.New(expr.Options{}))
	names := l.Catalog()
	if len(names) == 0 {
		t.Fatal("the catalogue is empty")
	}
	for _, name := range names {
		if _, err := l.Load(name); err != nil {
			t.Errorf("%s:\n%v", name, err)
		}
	}
}

// TestEveryFileIsRead checks the parts that loading a playbook leaves out: included tasks, variables, templates.
func TestEveryFileIsRead(t *testing.T) {
	env := expr.New(expr.Options{})
	l := loader(env)
	walk(t, func(name string, text []byte) {
		file := playbooks.CatalogPrefix + name
		switch path.Base(strings.TrimSuffix(path.Dir(name), "/main")) {
		case "templates":
			if err := env.CheckFile(string(text), source.Pos{File: file}, expr.TemplateModule()); err != nil {
				t.Error(err)
			}
		case "vars", "defaults":
			v, err := l.LoadVars(file)
			if err != nil {
				t.Error(err)
			}
			checkTemplates(t, env, v.Dict())
		case "tasks":
			loadTasks(t, l, name)
		}
	})
}

// checkTemplates checks every template inside v.
func checkTemplates(t *testing.T, env *expr.Env, v any) {
	t.Helper()
	switch v := v.(type) {
	case value.Template:
		if err := env.Check(v.Text, v.Pos); err != nil {
			t.Error(err)
		}
	case *value.Dict:
		for _, e := range v.All() {
			checkTemplates(t, env, e)
		}
	case []any:
		for _, e := range v {
			checkTemplates(t, env, e)
		}
	}
}

// loadTasks reads one file of a role's tasks by including it, as include_role with tasks_from does.
func loadTasks(t *testing.T, l *playbooks.Loader, name string) {
	t.Helper()
	role, from := path.Base(path.Dir(path.Dir(name))), strings.TrimSuffix(path.Base(name), ".yml")
	pb := "- hosts: all\n  tasks:\n    - import_role: {name: " + role + ", tasks_from: " + from + "}\n"
	file := filepath.Join(t.TempDir(), "one.yml")
	if err := os.WriteFile(file, []byte(pb), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Load(file); err != nil {
		t.Errorf("%s:\n%v", name, err)
	}
}

func walk(t *testing.T, visit func(name string, text []byte)) {
	t.Helper()
	err := fs.WalkDir(catalog.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(catalog.FS(), name)
		visit(name, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
