package playbooks

import (
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// draft is a task that is being read.
type draft struct {
	*Task
	own     Keywords
	vars    *value.Vars
	act     *action
	args    field // args:
	undo    field
	control field
}

// task reads one task. An import becomes what it imports.
func (r *reader) task(n node, fields []field, in Inherited) []Node {
	d := &draft{Task: &Task{Handler: in.handlers}}
	k := onTask
	if in.handlers {
		k = onHandler
	}
	var actions, rest []field
	for _, f := range fields {
		if r.keyword(d, f, k) {
			continue
		}
		rest = append(rest, f)
	}
	actions = r.actions(rest, k, d.own.Collections)
	if !r.act(d, actions, n, len(rest) > len(actions)) {
		return nil
	}
	r.gateWithin(d.own, in)
	d.Head = in.head(d.own, d.vars, n.pos(), d.Name)
	d.ownVars, d.outer = d.vars, &in
	d.SearchDirs = in.searchDirs()
	if d.act.local {
		d.DelegateTo = Const("localhost", d.act.at)
	}
	if d.control.key != "" {
		r.loopControl(d.Task, d.control)
	}
	switch d.act.module {
	case "import_tasks", "import_role", "include_tasks", "include_role":
		return r.include(d, fields, in)
	}
	r.finish(d, in)
	return []Node{d.Task}
}

// finish reads what depends on the module.
func (r *reader) finish(d *draft, in Inherited) {
	for _, def := range d.ModuleDefaults {
		if def.Module == d.Module {
			d.Defaults = def.Args
		}
	}
	r.arguments(d)
	if d.undo.key == "" || d.undo.val.empty() {
		return
	}
	if in.restrict {
		r.problems.Addf(d.undo.at, "cannot use %q in undo: what undoes is not undone", "undo")
		return
	}
	if d.undo.val.Kind == yaml.ScalarNode && d.undo.val.Value == "none" {
		d.UndoNone = true
		return
	}
	d.Undo = r.undoTasks(d.undo.val, in)
}

// undoTasks reads the tasks that take a command back: a module and its arguments each, and nothing that needs an engine around it. What the play
// or the task says of time-outs is about going forward, and not handed down.
func (r *reader) undoTasks(list node, in Inherited) []*Task {
	in.restrict, in.handlers = true, false
	in.Keywords.Timeout = Setting[int]{}
	for _, n := range list.list() {
		fields, ok := r.fields(n, "undo")
		for _, f := range fields {
			if _, known := keywordKinds[f.key]; ok && known && !undoKeywords[f.key] {
				r.problems.Addf(f.at, "cannot use %q in undo: its tasks have a name, a module, its arguments and a timeout alone", f.key)
				ok = false
			}
		}
		if !ok {
			return nil
		}
	}
	var out []*Task
	for _, n := range r.nodes(list, in, "undo") {
		t := n.(*Task) // block is no undo keyword
		if t.Spec == nil {
			r.problems.Addf(t.Pos, "cannot use %q in undo: only modules that run on the host can be", t.Action)
		}
		out = append(out, t)
	}
	return out
}

var undoKeywords = map[string]bool{"name": true, "args": true, "action": true, "timeout": true}

// keyword reads a keyword of tasks; false when f must be the action.
func (r *reader) keyword(d *draft, f field, k kind) bool {
	if keywordKinds[f.key]&k == 0 && !strings.HasPrefix(f.key, "with_") {
		return false
	}
	return r.common(&d.own, f, k) || r.repetition(d, f) || r.outcome(d, f, k) || r.taskKeyword(d, f) || r.refused(f)
}

func (r *reader) taskKeyword(d *draft, f field) bool {
	switch f.key {
	case "name":
		d.Name = setting[string](r, f)
	case "vars":
		d.vars = r.vars(f)
	case "args":
		d.args = f
	case "undo":
		d.undo = f
	default:
		return false
	}
	return true
}

func (r *reader) outcome(d *draft, f field, k kind) bool {
	switch f.key {
	case "register":
		d.Register = r.register(f)
	case "changed_when":
		d.ChangedWhen = r.conditions(f)
	case "failed_when":
		d.FailedWhen = r.conditions(f)
	case "listen":
		if k != onHandler {
			return false
		}
		d.Listen = r.texts(f)
	default:
		return false
	}
	return true
}

func (r *reader) register(f field) string {
	if f.val.empty() {
		return ""
	}
	s := setting[string](r, f)
	name, ok := s.Constant()
	if !ok || !value.ValidName(name) {
		r.problems.Addf(s.Pos, "cannot register %s: it is not the name of a variable", show(s.Text())).
			WithHint("use a letter or underscore first, then letters, digits and underscores")
	}
	return name
}

// repetition reads loops and retries.
func (r *reader) repetition(d *draft, f field) bool {
	switch {
	case f.key == "until":
		d.Until = r.conditions(f)
	case f.key == "retries":
		d.Retries = setting[int](r, f)
	case f.key == "delay":
		d.Delay = setting[float64](r, f)
	case f.key == "loop_control":
		d.control = f
	case f.key == "loop" || strings.HasPrefix(f.key, "with_"):
		r.loop(d.Task, f)
	default:
		return false
	}
	return true
}

// loopLookups are the with_<lookup> loops.
var loopLookups = []string{"dict", "file", "fileglob", "first_found", "flattened", "indexed_items", "inventory_hostnames", "items",
	"lines", "list", "nested", "cartesian", "random_choice", "sequence", "subelements", "template", "together", "env", "vars", "varnames",
	"pipe", "url", "ini", "csvfile", "config", "password", "unvault"}

// unsupportedLookups are those of loopLookups that a loop cannot use yet.
var unsupportedLookups = map[string]bool{"pipe": true, "url": true, "ini": true, "csvfile": true, "config": true, "password": true, "unvault": true}

func (r *reader) loop(t *Task, f field) {
	name, isWith := strings.CutPrefix(f.key, "with_")
	if !isWith {
		name = ""
	}
	switch {
	case f.val.empty():
		return
	case t.Loop != nil:
		r.problems.Addf(f.at, "cannot use %q: the task has another loop already", f.key)
		return
	case isWith && !r.loopLookup(f, name):
		return
	}
	terms, ok := r.value(f.val)
	if ok && name == "" && !isList(terms) {
		r.problems.Addf(f.val.pos(), "cannot use %q: it is %s, and a list is needed", f.key, f.val.describe()).WithHint("for a mapping write loop: \"{{ mapping | dict2items }}\"")
	}
	t.Loop = &Loop{Pos: f.at, Lookup: name, Terms: terms}
}

func isList(v any) bool {
	switch v.(type) {
	case []any, value.Template, value.Vault:
		return true
	}
	return false
}

func (r *reader) loopLookup(f field, name string) bool {
	if unsupportedLookups[name] {
		r.problems.Addf(f.at, "cannot use %q: this lookup is not supported in a loop yet", f.key)
		return false
	}
	for _, known := range loopLookups {
		if known == name {
			return true
		}
	}
	p := r.problems.Addf(f.at, "cannot use %q: there is no lookup %q", f.key, name)
	if near := source.Nearest(name, loopLookups); near != "" {
		p.WithHint("did you mean %q?", "with_"+near)
	}
	return false
}

func (r *reader) loopControl(t *Task, f field) {
	if f.val.empty() {
		return
	}
	l := t.Loop
	if l == nil {
		l = &Loop{} // without a loop it says nothing, as under Ansible, but its mistakes are mistakes
	}
	fields, _ := r.fields(f.val, "loop_control")
	for _, c := range fields {
		switch c.key {
		case "loop_var":
			l.Var = r.loopName(c)
		case "index_var":
			l.IndexVar = r.loopName(c)
		case "label":
			l.Label, _ = r.value(c.val)
		case "pause":
			l.Pause = setting[float64](r, c)
		case "extended":
			l.Extended = setting[bool](r, c)
		case "extended_allitems":
			l.ExtendedAllItems = setting[bool](r, c)
		default:
			p := r.problems.Addf(c.at, "cannot use %q in loop_control: no keyword has this name", c.key)
			if near := source.Nearest(c.key, []string{"loop_var", "index_var", "label", "pause", "extended", "extended_allitems"}); near != "" {
				p.WithHint("did you mean %q?", near)
			}
		}
	}
}

func (r *reader) loopName(f field) Setting[string] {
	s := setting[string](r, f)
	if name, ok := s.Constant(); ok && !value.ValidName(name) {
		r.problems.Addf(s.Pos, "cannot use %q: %q is not the name of a variable", f.key, name)
	}
	return s
}

// FullName is the task's name as it is shown: "role : name", with the action in place of a missing name. It may hold a template.
func (t *Task) FullName() Setting[string] {
	name, pos := t.Name.Text(), t.Name.Pos
	if name == "" {
		name, pos = t.Action, t.Pos
		if t.Include != nil && t.Include.Use != nil {
			name += " : " + t.Include.Use.Name.Text()
		}
	}
	if t.Role != nil && (t.Include == nil || t.Include.Use == nil) && !strings.HasPrefix(name, t.Role.Name+" : ") {
		name = t.Role.Name + " : " + name
	}
	if v, ok := value.FromText(name, pos).(value.Template); ok {
		return Templated[string](v)
	}
	return Const(name, pos)
}

// Answers tells whether the handler t is meant by what a task notifies: its name, "role : name", or a topic it listens to.
func (t *Task) Answers(notified string, render Render) (bool, error) {
	for _, topic := range t.Listen {
		if s, err := topic.Get(render, ""); err != nil || s == notified {
			return err == nil, err
		}
	}
	if !t.Name.IsSet() {
		return false, nil
	}
	name, err := t.Name.Get(render, "")
	if err != nil {
		return false, err
	}
	return name == notified || t.Role != nil && t.Role.Name+" : "+name == notified, nil
}
