package expr

import (
	"errors"
	"fmt"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

// render is one evaluation of one template. It belongs to one goroutine.
type render struct {
	env     *Env
	tpl     *template
	syn     *syntax // of templates it includes
	vars    Vars
	known   map[string]any // variables already looked up
	at      int            // offset of what is being evaluated, for errors
	convert bool           // text that reads as a list, mapping or bool becomes one
	noPlugs bool           // lookups are refused, because the text came from elsewhere
	depth   int            // of macro calls, includes and nested templates
	blocks  map[string][]*blockStmt
	parent  *template // what {% extends %} named
}

func (e *Env) render(tpl *template, vars Vars) *render {
	if vars == nil {
		vars = MapVars(nil)
	}
	return &render{env: e, tpl: tpl, vars: vars, syn: &taskSyntax}
}

// frame is a scope of names that a template sets itself.
type frame struct {
	r     *render
	names map[string]any
	up    *frame
}

func (f *frame) set(name string, v any) {
	if f.names == nil {
		f.names = map[string]any{}
	}
	f.names[name] = v
}

func (f *frame) inner() *frame { return &frame{r: f.r, up: f} }

// lookup finds name in the template's own scopes.
func (f *frame) lookup(name string) (any, bool) {
	for s := f; s != nil; s = s.up {
		if v, ok := s.names[name]; ok {
			return v, true
		}
	}
	return nil, false
}

// variable finds name among the variables and then the functions every template has.
func (r *render) variable(name string) any {
	if v, ok := r.known[name]; ok {
		return v
	}
	v := r.find(name)
	if r.tpl.mutates {
		v = ownDeep(v)
	}
	if r.known == nil {
		r.known = map[string]any{}
	}
	r.known[name] = v
	return v
}

func (r *render) find(name string) any {
	v, ok, err := r.vars.Lookup(name)
	var u *Undefined
	switch {
	case errors.As(err, &u):
		return &Undefined{Name: name, Message: u.Message}
	case err != nil:
		failErr(err)
	case ok:
		return norm(v)
	}
	if g, ok := globals[name]; ok {
		return g
	}
	if name == "omit" {
		return Omit
	}
	return undefinedName(name)
}

func (r *render) origin(name string) Origin {
	if o, ok := r.vars.(Origins); ok {
		return o.Origin(name)
	}
	return Literal
}

// template gives the value of a whole task argument.
func (r *render) template(p *parsed, text string) (v any, err error) {
	defer catch(&err)
	if p.single != "" && r.origin(p.single) != Template {
		switch v := r.variable(p.single).(type) {
		case nil, bool, int, float64:
			return v, nil
		case *omitted:
			return v, nil
		}
	}
	f := &frame{r: r}
	out := &output{}
	r.root(f, out)
	v = out.value(true)
	if s, ok := v.(string); ok {
		v = s + strings.Repeat("\n", max(0, trailingNewlines(text)-trailingNewlines(s)))
	}
	return plain(v), nil
}

func trailingNewlines(s string) int { return len(s) - len(strings.TrimRight(s, "\n")) }

// root runs the template and the templates it extends.
func (r *render) root(f *frame, out *output) {
	r.pushBlocks(r.tpl)
	r.run(r.tpl.body, f, out)
	for r.parent != nil {
		tpl := r.parent
		r.parent = nil
		r.tpl = tpl
		r.pushBlocks(tpl)
		out.reset()
		r.run(tpl.body, f, out)
	}
}

func (r *render) pushBlocks(t *template) {
	for name, b := range t.blocks {
		if r.blocks == nil {
			r.blocks = map[string][]*blockStmt{}
		}
		r.blocks[name] = append(r.blocks[name], b)
	}
}

func (r *render) run(body []stmt, f *frame, out *output) {
	for _, s := range body {
		s.exec(f, out)
	}
}

const maxDepth = 200

// enter guards against templates that call themselves without end.
func (r *render) enter() func() {
	if r.depth++; r.depth > maxDepth {
		fail("recursive loop detected in template")
	}
	return func() { r.depth-- }
}

// problem is err, which stopped the evaluation, at its place.
func (r *render) problem(what, text string, pos source.Pos, err error) error {
	var inner *source.Problem
	if errors.As(err, &inner) {
		return err
	}
	at := place(r.tpl.text, r.at, pos, 0)
	return &source.Problem{
		Pos: at.pos, Line: at.line, Err: err,
		Msg: fmt.Sprintf("cannot evaluate %s %s: %s", what, shorten(text), err),
	}
}

// output collects what a template prints. One piece alone keeps its value until it is known whether text is wanted.
type output struct {
	n    int
	only any  // the only piece while n is 1
	text bool // only came from a filter that promises text
	buf  strings.Builder
}

func (o *output) add(v any, text bool) {
	o.n++
	if o.n == 1 {
		o.only, o.text = v, text
		return
	}
	if o.n == 2 {
		o.buf.WriteString(pyStr(o.only))
	}
	o.buf.WriteString(pyStr(v))
}

func (o *output) reset() { *o = output{} }

// value is what was printed. With convert, text that reads as a list, a mapping or a bool becomes that.
func (o *output) value(convert bool) any {
	if o.n == 0 {
		return ""
	}
	if o.n == 1 {
		return o.single(convert)
	}
	if s := o.buf.String(); convert {
		return literalOr(s)
	} else {
		return s
	}
}

func (o *output) single(convert bool) any {
	if !convert || o.text {
		return pyStr(o.only)
	}
	switch v := o.only.(type) {
	case bool, *omitted:
		return v
	case string:
		return literalOr(v)
	case []any, *List, *Dict, Mapping:
		return collection(v)
	}
	return pyStr(o.only)
}

// collection is v when its text would read back as the same value, else its text. So goes Ansible's round trip
// through text, without the trip.
func collection(v any) any {
	v = plain(v)
	if readsBack(v) {
		return v
	}
	return pyStr(v)
}
