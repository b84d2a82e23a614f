package vars

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

var noPlace source.Pos

// Task is what a task adds to the variables of its host.
type Task struct {
	Role        *Role       // nil outside of roles
	Vars        *value.Vars // of the task and its blocks
	Include     *value.Vars // include parameters
	Loops       *value.Dict // loop variables of the includes around it
	Search      []string    // ansible_search_path
	Environment []any       // the environment keywords, which may hold templates
	Connection  *value.Dict // how the task connects (ansible_host and the like), where no variable says otherwise
	Delegate    string      // the host that the task is delegated to
}

// layer is one step of a Scope. A Dict or Vars that is nil has nothing.
type layer struct {
	name string
	dict *value.Dict
	vars *value.Vars
	data bool // the values came from hosts at run time
	// writers are the tasks that set the values, where they are known.
	writers map[string]Writer
}

func (l layer) get(name string) (any, bool) {
	if l.vars != nil {
		return l.vars.Var(name)
	}
	return l.dict.Get(name)
}

// Scope is how a task sees variables. It implements expr.Vars.
type Scope struct {
	world  *World
	host   *Host   // nil for a play's own keywords
	layers []layer // the lowest precedence first
	magic  magic
	others *hostVars // the scopes of other hosts that a template has led to; shared by all of them
	known  map[string]answer
	busy   map[string]bool // names being rendered, for loops among them
	err    error           // the layers could not be read
	of     *Scope          // what With made this of
	made   []*Scope        // what With made of this
}

type answer struct {
	v   any
	ok  bool
	err error
}

// Scope is how a task that adds nothing sees the host.
func (h *Host) Scope() *Scope { return h.Task(Task{}) }

// Task is how a task sees the host.
func (h *Host) Task(t Task) *Scope {
	w := h.world
	s := &Scope{world: w, host: h, magic: magic{world: w, host: h, task: t}, others: &hostVars{world: w}}
	s.add("connection", t.Connection, nil)
	for _, r := range w.play.Roles {
		s.addVars("role defaults", r.Defaults)
	}
	if t.Role != nil {
		s.addVars("role defaults", t.Role.Defaults)
	}
	s.addInventory()
	s.addData("facts", h.injected)
	s.addPlay()
	if t.Role != nil {
		s.addVars("role variables", t.Role.Vars)
	}
	s.add("task and block variables", nil, t.Vars)
	s.addAnswers()
	if t.Role != nil {
		s.addVars("role parameters", t.Role.Params)
	}
	s.add("include parameters", nil, t.Include)
	s.add("loop variables", t.Loops, nil)
	s.add("extra variables", nil, w.o.Extra)
	return s
}

// alone is the host as hostvars shows it: without what a play adds.
func (h *Host) alone(others *hostVars) *Scope {
	s := &Scope{world: h.world, host: h, magic: magic{world: h.world, host: h}, others: others}
	s.addInventory()
	s.addData("facts", h.injected)
	s.addAnswers()
	s.add("extra variables", nil, h.world.o.Extra)
	return s
}

func (s *Scope) addInventory() {
	base, err := s.host.inventoryLayers()
	s.err = err
	s.layers = append(s.layers, base...)
}

func (s *Scope) addAnswers() {
	s.addWritten(layer{name: "include_vars", dict: s.host.included, writers: s.host.includedBy})
	s.addWritten(layer{name: "set_fact and register", dict: s.host.registered, data: true, writers: s.host.setBy})
}

func (s *Scope) addWritten(l layer) {
	if l.dict.Len() > 0 {
		s.layers = append(s.layers, l)
	}
}

// Play is how a play's own keywords see variables: there is no host.
func (w *World) Play() *Scope {
	s := &Scope{world: w, magic: magic{world: w}, others: &hostVars{world: w}}
	if all := w.o.Inventory.Group("all"); all != nil {
		s.add("group all", nil, all.Vars)
	}
	s.addPlay()
	s.add("extra variables", nil, w.o.Extra)
	return s
}

func (s *Scope) addPlay() {
	p := s.world.play
	s.add("play variables", nil, p.Vars)
	s.addVars("vars_files", p.Files)
	if p.HostFiles != nil && s.host != nil && s.err == nil {
		files, err := p.HostFiles(s.With("", nil))
		s.addVars("vars_files", files)
		s.err = err
	}
	for _, r := range p.Roles {
		s.addVars("role variables", r.Vars)
	}
}

func (s *Scope) addVars(name string, vars []*value.Vars) {
	for _, v := range vars {
		s.add(name, nil, v)
	}
}

func (s *Scope) add(name string, d *value.Dict, v *value.Vars) {
	if d.Len() > 0 || v.Len() > 0 {
		s.layers = append(s.layers, layer{name: name, dict: d, vars: v})
	}
}

func (s *Scope) addData(name string, d *value.Dict) {
	if d.Len() > 0 {
		s.layers = append(s.layers, layer{name: name, dict: d, data: true})
	}
}

// With is s with more variables on top.
func (s *Scope) With(name string, d *value.Dict) *Scope {
	more := *s
	more.layers = slices.Concat(s.layers, []layer{{name: name, dict: d}})
	more.known, more.busy, more.of, more.made = nil, nil, s, nil
	s.made = append(s.made, &more)
	return &more
}

// Lookup implements expr.Vars: the value of a variable, rendered.
func (s *Scope) Lookup(name string) (any, bool, error) {
	if a, ok := s.known[name]; ok {
		return a.v, a.ok, a.err
	}
	if s.err != nil {
		return nil, false, s.err
	}
	if s.busy[name] {
		return nil, true, s.loop(name)
	}
	var a answer
	a.v, a.ok, a.err = s.find(name)
	if s.known == nil {
		s.known = map[string]answer{}
	}
	s.known[name] = a
	return a.v, a.ok, a.err
}

// loop says that a variable's template needs the variable itself.
func (s *Scope) loop(name string) error {
	raw, _, _ := s.raw(name)
	if t, ok := raw.(value.Template); ok {
		return source.Errorf(t.Pos, "recursive loop detected in template string: %s", t.Text).WithHint("%s needs itself", name)
	}
	return fmt.Errorf("recursive loop detected in template string: %s needs itself", name)
}

func (s *Scope) find(name string) (any, bool, error) {
	raw, ok := s.magic.get(s, name)
	if !ok {
		raw, _, ok = s.raw(name)
	}
	if !ok {
		return nil, false, nil
	}
	if s.busy == nil {
		s.busy = map[string]bool{}
	}
	s.busy[name] = true
	defer delete(s.busy, name)
	v, err := s.Render(raw)
	return v, true, neededBy(name, err)
}

// neededBy tells which variable needs an undefined one: an undefined value is reported where it is used at last, which may be
// far from the template that lacks something.
func neededBy(name string, err error) error {
	var u *expr.Undefined
	var p *source.Problem
	if !errors.As(err, &u) || !errors.As(err, &p) || strings.Contains(u.Message, neededMark) {
		return err
	}
	told := *p
	told.Err = &expr.Undefined{Name: u.Name, Message: fmt.Sprintf("%s%s%s, %s)", u.Message, neededMark, name, p.Pos)}
	return &told
}

const neededMark = " (needed by "

// Written is a variable as it was written, with its templates; ok is false when there is none of this name.
func (s *Scope) Written(name string) (v any, ok bool) {
	v, _, ok = s.raw(name)
	return v, ok
}

// raw is a variable as it was written, and its layer.
func (s *Scope) raw(name string) (any, layer, bool) {
	for i := len(s.layers) - 1; i >= 0; i-- {
		if v, ok := s.layers[i].get(name); ok {
			return v, s.layers[i], true
		}
	}
	return nil, layer{}, false
}

// Render renders every template inside v.
func (s *Scope) Render(v any) (any, error) {
	switch v := v.(type) {
	case value.Template:
		return s.world.o.Env.Template(v.Text, v.Pos, s)
	case value.Vault:
		return nil, v.Err()
	case *value.Vars:
		return s.Render(v.Dict())
	case *value.Dict:
		return s.renderDict(v)
	case []any:
		return s.renderList(v)
	}
	return v, nil
}

func (s *Scope) renderDict(d *value.Dict) (any, error) {
	if d == nil {
		return value.NewDict(), nil
	}
	out := value.NewDict()
	for k, v := range d.All() {
		rendered, err := s.Render(v)
		if err != nil {
			return nil, err
		}
		out.Set(k, rendered)
	}
	return out, nil
}

func (s *Scope) renderList(list []any) (any, error) {
	out := make([]any, len(list))
	for i, v := range list {
		rendered, err := s.Render(v)
		if err != nil {
			return nil, err
		}
		out[i] = rendered
	}
	return out, nil
}

// Evaluate gives the value of a bare expression.
func (s *Scope) Evaluate(text string, pos source.Pos) (any, error) {
	return s.world.o.Env.Template("{{ "+text+" }}", pos, s)
}

// Condition tells whether a bare expression holds.
func (s *Scope) Condition(text string, pos source.Pos) (bool, error) {
	return s.world.o.Env.Condition(text, pos, s)
}

// RenderFile renders a template file; vars are added on top for it.
func (s *Scope) RenderFile(text string, pos source.Pos, vars map[string]any, o expr.FileOptions) (string, error) {
	d, _ := value.FromGo(vars).(*value.Dict)
	return s.world.o.Env.RenderFile(text, pos, s.With("template variables", d), o)
}

// Origin implements expr.Origins.
func (s *Scope) Origin(name string) expr.Origin {
	raw, l, ok := s.raw(name)
	switch {
	case ok && l.data:
		return expr.Unsafe
	case ok:
		if _, is := raw.(value.Template); is {
			return expr.Template
		}
	}
	return expr.Literal
}

// Where tells which layer a variable comes from, and its place when it was written in a file.
func (s *Scope) Where(name string) (title string, pos source.Pos, ok bool) {
	if _, is := s.magic.get(s, name); is {
		return ofMagic, noPlace, true
	}
	_, l, ok := s.raw(name)
	title, pos, _ = l.origin(name)
	return title, pos, ok
}

const ofMagic = "magic variables"

// Names are the names of all variables, each once.
func (s *Scope) Names() []string {
	seen := map[string]bool{}
	var names []string
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, l := range s.layers {
		for k := range l.all().All() {
			add(fmt.Sprint(k))
		}
	}
	for _, name := range magicNames {
		add(name)
	}
	for k := range s.world.o.Magic.All() {
		add(fmt.Sprint(k))
	}
	return names
}

func (l layer) all() *value.Dict {
	if l.vars != nil {
		return l.vars.Dict()
	}
	return l.dict
}

// cleanName is a fact's name in ansible_facts.
func cleanName(name string) string {
	if name == "ansible_local" {
		return name
	}
	return strings.TrimPrefix(name, "ansible_")
}
