package expr

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

func (s *dataStmt) exec(_ *frame, out *output) { out.add(s.text, false) }

func (s *printStmt) exec(f *frame, out *output) {
	v, text := evalPrinted(f, s.x)
	if u, ok := v.(*Undefined); ok {
		f.r.point(s.x)
		u.use()
	}
	out.add(finalize(v), text)
}

// finalize is what {{ }} prints of v: nothing for None.
func finalize(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// point sets the place of an error to a variable or member that turned out undefined.
func (r *render) point(x expr) {
	switch x := x.(type) {
	case *nameExpr:
		r.at = x.at
	case *attrExpr:
		r.at = x.at
	case *itemExpr:
		r.at = x.at
	}
}

func (s *ifStmt) exec(f *frame, out *output) {
	for _, b := range s.branches {
		if truthy(b.test.eval(f)) {
			f.r.run(b.body, f, out)
			return
		}
	}
	f.r.run(s.other, f, out)
}

func (s *setStmt) exec(f *frame, _ *output) { assign(f, s.target, s.x.eval(f)) }

func (s *setBlockStmt) exec(f *frame, _ *output) {
	v := f.r.capture(s.body, f.inner())
	if s.filter != nil {
		v = s.filter.chain(f, v)
	}
	assign(f, s.target, v)
}

// capture runs body and gives what it prints.
func (r *render) capture(body []stmt, f *frame) any {
	out := &output{}
	r.run(body, f, out)
	return out.value(r.convert)
}

// chain applies a row of filters whose first has no input yet.
func (x *filterExpr) chain(f *frame, v any) any {
	if inner, ok := x.x.(*filterExpr); ok {
		v = inner.chain(f, v)
	}
	return x.apply(f, v)
}

// assign sets a target: a name, a tuple of targets, or an attribute of a namespace.
func assign(f *frame, target expr, v any) {
	switch t := target.(type) {
	case *nameExpr:
		f.set(t.name, v)
	case nsTarget:
		f.r.at = t.at
		ns, ok := (&nameExpr{t.at, t.ns}).eval(f).(*namespace)
		if !ok {
			fail("cannot assign attribute on non-namespace object")
		}
		ns.attrs.Set(t.name, v)
	case *tupleExpr:
		unpack(f, t, v)
	}
}

func unpack(f *frame, t *tupleExpr, v any) {
	items := iterate(v)
	if len(items) > len(t.items) {
		fail("too many values to unpack (expected %d)", len(t.items))
	}
	if len(items) < len(t.items) {
		fail("not enough values to unpack (expected %d, got %d)", len(t.items), len(items))
	}
	for i, target := range t.items {
		assign(f, target, norm(items[i]))
	}
}

func (s *filterStmt) exec(f *frame, out *output) {
	out.add(s.filter.chain(f, f.r.capture(s.body, f.inner())), textFilters[shortName(s.filter.name)])
}

func (s *withStmt) exec(f *frame, out *output) {
	inner := f.inner()
	for i, t := range s.targets {
		assign(inner, t, s.vals[i].eval(f))
	}
	f.r.run(s.body, inner, out)
}

func (s *doStmt) exec(f *frame, _ *output) { s.x.eval(f) }

// loopSignal unwinds to the innermost loop of a break or continue.
type loopSignal struct{ stop bool }

func (breakStmt) exec(*frame, *output)    { panic(loopSignal{true}) }
func (continueStmt) exec(*frame, *output) { panic(loopSignal{false}) }

func (s *blockStmt) exec(f *frame, out *output) {
	r := f.r
	if r.parent != nil {
		return // only what the parent template prints counts
	}
	all := r.blocks[s.name]
	top := s
	if len(all) > 0 {
		top = all[0]
	}
	r.execBlock(top, all, f, out)
}

func (r *render) execBlock(b *blockStmt, all []*blockStmt, f *frame, out *output) {
	inner := f.inner()
	inner.set("super", &funcValue{"super", func(f *frame, _ callValues) any {
		for i, have := range all {
			if have == b && i+1 < len(all) {
				sub := &output{}
				r.execBlock(all[i+1], all, f, sub)
				return sub.value(r.convert)
			}
		}
		fail("there is no parent block called '%s'.", b.name)
		return nil
	}})
	r.run(b.body, inner, out)
}

func (s *extendsStmt) exec(f *frame, _ *output) {
	name := pyStr(s.x.eval(f))
	f.r.at = s.at
	f.r.parent, _ = f.r.load(name)
}

func (s *includeStmt) exec(f *frame, out *output) {
	v := s.x.eval(f)
	f.r.at = s.at
	names, ok := asList(v)
	if !ok {
		names = []any{v}
	}
	for _, name := range names {
		tpl, path, err := f.r.tryLoad(pyStr(name))
		if err == nil {
			f.r.include(tpl, path, f, s.bare, out)
			return
		}
		var missing *notFound
		if !errors.As(err, &missing) {
			failErr(err)
		}
	}
	if !s.ignoreMissing {
		fail("cannot find the template %s in the search path", strings.Join(texts(names), " or "))
	}
}

// include runs another template inside this one; an error in it is placed in its file.
func (r *render) include(tpl *template, path string, f *frame, bare bool, out *output) {
	defer r.enter()()
	sub := &render{env: r.env, tpl: tpl, vars: r.vars, syn: r.syn, convert: r.convert, noPlugs: r.noPlugs, depth: r.depth}
	inner := &frame{r: sub}
	if !bare {
		inner.names = flatten(f)
	}
	piece := &output{}
	if err := attempt(func() { sub.root(inner, piece) }); err != nil {
		failErr(sub.problem("template", path, source.Pos{File: path}, err))
	}
	out.add(piece.value(false), false)
}

// flatten is every name set in f and the scopes around it.
func flatten(f *frame) map[string]any {
	out := map[string]any{}
	for s := f; s != nil; s = s.up {
		for k, v := range s.names {
			if _, ok := out[k]; !ok {
				out[k] = v
			}
		}
	}
	return out
}

func (s *importStmt) exec(f *frame, _ *output) {
	name := pyStr(s.x.eval(f))
	f.r.at = s.at
	tpl, path := f.r.load(name)
	sub := &render{env: f.r.env, tpl: tpl, vars: MapVars(nil), syn: f.r.syn, convert: f.r.convert, depth: f.r.depth}
	inner := &frame{r: sub}
	if s.withContext {
		sub.vars, inner.names = f.r.vars, flatten(f)
	}
	module := &frame{r: sub, up: inner}
	if err := attempt(func() { sub.root(module, &output{}) }); err != nil {
		failErr(sub.problem("template", path, source.Pos{File: path}, err))
	}
	if s.as != "" {
		f.set(s.as, moduleOf(module))
	}
	for _, n := range s.names {
		v, ok := module.names[n[0]]
		if !ok {
			v = &Undefined{Name: n[0], Message: "the template '" + name + "' does not export the requested name '" + n[0] + "'"}
		}
		f.set(n[1], v)
	}
}

func moduleOf(f *frame) *Dict { return dictOfMap(f.names) }

func (r *render) load(name string) (*template, string) {
	tpl, path, err := r.tryLoad(name)
	if err != nil {
		failErr(err)
	}
	return tpl, path
}

// notFound is a file that is in no directory of the search path.
type notFound struct {
	what, name string
}

func (e *notFound) Error() string {
	return "cannot find the " + e.what + " " + e.name + " in the search path"
}

// tryLoad finds and parses a template file that this one names.
func (r *render) tryLoad(name string) (*template, string, error) {
	path := r.findFile("templates", name)
	if path == "" {
		return nil, "", &notFound{"template", name}
	}
	raw, err := r.env.opts.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	p := r.env.parse(string(raw), *r.syn)
	if err := p.problem(filepath.Base(path), source.Pos{File: path}, 0); err != nil {
		return nil, "", err
	}
	return p.tpl, path, nil
}
