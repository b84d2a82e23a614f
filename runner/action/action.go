// Package action is the controller's half of tasks.
//
// Most modules run on a host as they are. Some cannot: debug and set_fact need the variables, template needs the template engine,
// copy needs the controller's files. Those have an Action. It gets a Call, with arguments that are rendered already, and answers
// either with a result of its own or with a Forward: the module and the arguments to run on the host in its place.
//
//	task ── render arguments ──▶ Action ──▶ Result                      debug, assert, fail, set_fact, include_vars, ...
//	                                  └───▶ Forward ──▶ host ──▶ Result  copy, template, unarchive, ...
//
// An action alters nothing, neither here nor there: what is altered is altered by a module, behind a journal.
package action

import (
	"context"
	"fmt"
	"maps"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/tasks"
)

// Scope is the variables as a task sees them on a host, and rendering with them.
type Scope interface {
	// Render renders every template inside v.
	Render(v any) (any, error)
	// Evaluate gives the value of a bare expression.
	Evaluate(text string, pos source.Pos) (any, error)
	// Condition tells whether a bare expression holds.
	Condition(text string, pos source.Pos) (bool, error)
	// Written is a variable as it was written, with its templates; ok is false when there is none of this name.
	Written(name string) (v any, ok bool)
	// RenderFile renders a template file; vars are added to the scope for it.
	RenderFile(text string, pos source.Pos, vars map[string]any, o expr.FileOptions) (string, error)
}

// Call is one use of an action on one host.
type Call struct {
	Task  *playbooks.Task
	Args  map[string]any // rendered, under the names of the module's spec or their aliases
	Raw   *value.Dict    // rendered too, as values: what set_fact keeps
	Scope Scope
	Files playbooks.Files
	Check bool
	// Verbosity is the number of -v.
	Verbosity int
	// Ask shows a prompt and reads a line that the user types, hidden unless echo. It errs when there is nobody to ask.
	Ask func(ctx context.Context, prompt string, echo bool) (string, error)
	// ReadVars reads a file of variables; its templates stay templates.
	ReadVars func(file string) (*value.Dict, error)
}

// Answer is what an action came to.
type Answer struct {
	Result  tasks.Result
	Forward *Forward     // not nil: Result does not count, the module's does
	Facts   *value.Dict  // set_fact and include_vars: the variables to set
	Vars    bool         // Facts have the precedence of include_vars, not of set_fact
	Keep    bool         // Facts count as facts of the host too
	Verbose bool         // the result is printed at any verbosity
	Join    *Join        // add_host and group_by: what becomes of the inventory
	Table   *event.Table // what printers show in place of the result; nil for none
	// Degraded makes a run that nothing else fails end with the exit code for it.
	Degraded bool
}

// Forward is what to run on the host in the task's place.
type Forward struct {
	Module string
	Args   map[string]any
	Blobs  map[string]Blob // by SHA-256
	// Finish alters the module's result before it counts; nil for none.
	Finish func(*tasks.Result)
}

// Blob is a file of the controller that arguments refer to as {"$blob": sha256, "size": n}.
type Blob struct {
	Size int64
	File string // read through Call.Files
	Data []byte // instead of File
}

// Action is the controller's half of a module.
type Action interface {
	Act(ctx context.Context, c *Call) (Answer, error)
}

// Func is an Action that is a function.
type Func func(ctx context.Context, c *Call) (Answer, error)

// Act implements Action.
func (f Func) Act(ctx context.Context, c *Call) (Answer, error) { return f(ctx, c) }

// All are the actions by module name.
func All() map[string]Action {
	return map[string]Action{
		"assert": Func(assert), "debug": Func(debug), "fail": Func(fail), "set_fact": Func(setFact), "include_vars": Func(includeVars),
		"copy": Func(copyFiles), "template": Func(template), "unarchive": Func(unarchive), "uri": Func(uri),
		"validate_argument_spec": Func(validateArgumentSpec), "k8s": Func(manifests), "pause": Func(pause), "promql": Func(promql), "gates": Func(gates), "checks": Func(checks),
		"add_host": Func(addHost), "group_by": Func(groupBy),
	}
}

// Modules are the specs of modules that run on the controller alone, for the reader of playbooks.
func Modules() tasks.Set {
	return tasks.Set{
		"assert":                 func() tasks.Module { return &assertArgs{} },
		"add_host":               func() tasks.Module { return &addHostArgs{} },
		"group_by":               func() tasks.Module { return &groupByArgs{} },
		"debug":                  func() tasks.Module { return &debugArgs{} },
		"fail":                   func() tasks.Module { return &failArgs{} },
		"set_fact":               func() tasks.Module { return &setFactArgs{} },
		"include_vars":           func() tasks.Module { return &includeVarsArgs{} },
		"template":               func() tasks.Module { return &templateArgs{} },
		"pause":                  func() tasks.Module { return &pauseArgs{} },
		"promql":                 func() tasks.Module { return &promqlArgs{} },
		"gates":                  func() tasks.Module { return &gatesArgs{} },
		"checks":                 func() tasks.Module { return &checksArgs{} },
		"validate_argument_spec": func() tasks.Module { return &validateArgs{} },
	}
}

// onController makes a struct of arguments a module that no host can run.
type onController struct{}

// Run implements tasks.Module.
func (onController) Run(context.Context, *tasks.Sys) (tasks.Result, error) {
	return tasks.Result{}, &tasks.Error{Kind: tasks.Internal, Op: "run this module on a host", Detail: "it runs on the controller"}
}

// decode fills args, a pointer to a struct of arguments, from the call. It errs as Ansible's modules do about their arguments.
func decode[T tasks.Module](c *Call, args T) (T, error) {
	m, errs := tasks.SpecOf(args).Decode(c.Args)
	if len(errs) > 0 {
		return args, errs[0]
	}
	return m.(T), nil
}

// with is args with more of them, leaving args alone.
func with(args map[string]any, more map[string]any, without ...string) map[string]any {
	out := maps.Clone(args)
	for _, name := range without {
		delete(out, name)
	}
	maps.Copy(out, more)
	return out
}

// find is the file that a task means by name: in the folders of its role, then of its playbook.
func (c *Call) find(folder, name string) (string, error) {
	file, err := c.Files.Find(c.Task.SearchDirs, folder, name)
	if err != nil {
		return "", fmt.Errorf("Could not find or access '%s': %w", name, err)
	}
	return file, nil
}
