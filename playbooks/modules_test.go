package playbooks

import (
	"context"
	"testing"
	"testing/fstest"

	"github.com/calroll/calroll/tasks"
)

// The modules that the playbooks of these tests call: their arguments, as far as the tests use them. None of them is ever run.

type quiet struct{}

func (quiet) Run(context.Context, *tasks.Sys) (tasks.Result, error) { return tasks.Result{}, nil }

type (
	copyModule struct {
		quiet
		Src     string `arg:"src"`
		Content string `arg:"content"`
		Dest    string `arg:"dest,required"`
		Force   bool   `arg:"force"`
	}
	fileModule struct {
		quiet
		Path  string `arg:"path,alias=dest|name,required"`
		State string `arg:"state,choices=file|directory|absent|link|touch"`
		Mode  any    `arg:"mode"`
	}
	debugModule struct {
		quiet
		Msg any    `arg:"msg"`
		Var string `arg:"var"`
	}
	commandModule struct {
		quiet
		Text    string   `arg:"cmd,freeform"`
		Argv    []string `arg:"argv"`
		Creates string   `arg:"creates"`
		Chdir   string   `arg:"chdir"`
	}
	setFactModule struct {
		quiet
		Facts map[string]any `arg:"*"`
		Text  string         `arg:"_raw_params,freeform"`
	}
	validateModule struct {
		quiet
		Spec     map[string]any `arg:"argument_spec"`
		Provided map[string]any `arg:"provided_arguments"`
		Context  map[string]any `arg:"validate_args_context"`
	}
	serviceModule struct {
		quiet
		Name    string `arg:"name,required"`
		State   string `arg:"state,choices=started|stopped|restarted"`
		Enabled *bool  `arg:"enabled"`
	}
	includeVarsModule struct {
		quiet
		File string `arg:"file,freeform"`
	}
)

func (*setFactModule) Rules() tasks.Rules { return tasks.Rules{Open: true} }

var testModules = ModuleSet{
	"copy":                   func() tasks.Module { return &copyModule{} },
	"template":               func() tasks.Module { return &copyModule{} },
	"file":                   func() tasks.Module { return &fileModule{} },
	"debug":                  func() tasks.Module { return &debugModule{} },
	"command":                func() tasks.Module { return &commandModule{} },
	"shell":                  func() tasks.Module { return &commandModule{} },
	"set_fact":               func() tasks.Module { return &setFactModule{} },
	"service":                func() tasks.Module { return &serviceModule{} },
	"include_vars":           func() tasks.Module { return &includeVarsModule{} },
	"validate_argument_spec": func() tasks.Module { return &validateModule{} },
}

// loadText loads main/playbook.yml of files that are in memory, as the embedded catalogue is.
func loadText(files map[string]string) (*Playbook, *Loader, error) {
	catalog := fstest.MapFS{}
	for name, text := range files {
		catalog[name] = &fstest.MapFile{Data: []byte(text)}
	}
	l := &Loader{Files: Files{Catalog: catalog}, Modules: testModules}
	pb, err := l.Load(CatalogPrefix + "main")
	return pb, l, err
}

// mustLoad loads files that have no mistakes.
func mustLoad(t *testing.T, files map[string]string) (*Playbook, *Loader) {
	t.Helper()
	pb, l, err := loadText(files)
	if err != nil {
		t.Fatal(err)
	}
	return pb, l
}

// onePlay loads a play of which the text is given without the leading hosts.
func onePlay(t *testing.T, text string) *Play {
	t.Helper()
	pb, _ := mustLoad(t, map[string]string{"main/playbook.yml": "- hosts: all\n" + text})
	return pb.Plays[0]
}

// taskNamed finds a task by its name anywhere in a list of nodes.
func taskNamed(t *testing.T, nodes []Node, name string) *Task {
	t.Helper()
	if task := findTask(nodes, name); task != nil {
		return task
	}
	t.Fatalf("no task is named %q", name)
	return nil
}

func findTask(nodes []Node, name string) *Task {
	for _, n := range nodes {
		switch n := n.(type) {
		case *Task:
			if n.Name.Text() == name {
				return n
			}
		case *Block:
			for _, list := range [][]Node{n.Main, n.Rescue, n.Always} {
				if found := findTask(list, name); found != nil {
					return found
				}
			}
		}
	}
	return nil
}
