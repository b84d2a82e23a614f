package expr

import (
	"slices"
)

// macro is a {% macro %} or the body of a {% call %} as a value.
type macro struct {
	def  *macroStmt
	home *frame // where it was defined
}

func (s *macroStmt) exec(f *frame, _ *output) { f.set(s.name, &macro{s, f}) }

func (s *callStmt) exec(f *frame, out *output) {
	caller := &macro{s.macro, f}
	fn := s.call.fn.eval(f)
	a := s.call.args.eval(f)
	f.r.at = s.call.at
	a.names = append(slices.Clone(a.names), "caller")
	a.named = append(a.named, caller)
	out.add(finalize(norm(callValue(f, fn, a))), false)
}

// findCatches looks for the names that let a macro take more arguments than it lists.
func (s *macroStmt) findCatches() {
	n := &nameCollector{bound: []map[string]bool{{}}, found: map[string]bool{}}
	n.stmts(s.body)
	has := func(name string) bool { return n.found[name] && !slices.Contains(s.params, name) }
	s.catches.varargs, s.catches.kwargs, s.catches.caller = has("varargs"), has("kwargs"), has("caller")
}

func (m *macro) attr(name string) (any, bool) {
	switch name {
	case "name":
		return m.def.name, true
	case "arguments":
		return Tuple(strings2any(m.def.params)), true
	case "catch_varargs":
		return m.def.catches.varargs, true
	case "catch_kwargs":
		return m.def.catches.kwargs, true
	case "caller":
		return m.def.catches.caller, true
	}
	return nil, false
}

func (m *macro) call(f *frame, a callValues) any {
	r := m.home.r
	r.depth = max(r.depth, f.r.depth)
	defer r.enter()()
	inner := m.home.inner()
	m.bind(inner, a)
	return r.capture(m.def.body, inner)
}

// bind sets the parameters in f.
func (m *macro) bind(f *frame, a callValues) {
	d := m.def
	named := m.named(a)
	for i, name := range d.params {
		v, ok := named.Get(name)
		switch {
		case i < len(a.pos):
			if ok {
				fail("macro '%s' got multiple values for argument '%s'", d.name, name)
			}
			v = a.pos[i]
		case ok:
			named.Delete(name)
		case i >= len(d.params)-len(d.defaults):
			v = d.defaults[i-len(d.params)+len(d.defaults)].eval(f)
		default:
			v = &Undefined{Name: name, Message: "parameter '" + name + "' was not provided"}
		}
		f.set(name, v)
	}
	m.rest(f, a, named)
}

func (m *macro) named(a callValues) *Dict {
	d := &Dict{}
	for i, name := range a.names {
		d.Set(name, a.named[i])
	}
	return d
}

// rest sets caller, kwargs and varargs, or refuses what the macro does not take.
func (m *macro) rest(f *frame, a callValues, named *Dict) {
	d := m.def
	if caller, ok := named.Get("caller"); ok || d.catches.caller {
		if !ok {
			caller = &Undefined{Name: "caller", Message: "No caller defined"}
		} else if !d.catches.caller {
			fail("macro '%s' was invoked with two values for the special caller argument or takes no caller", d.name)
		}
		named.Delete("caller")
		f.set("caller", caller)
	}
	if d.catches.kwargs {
		f.set("kwargs", named)
	} else if named.Len() > 0 {
		fail("macro '%s' takes no keyword argument %s", d.name, pyRepr(named.Keys()[0]))
	}
	extra := a.pos[min(len(a.pos), len(d.params)):]
	if d.catches.varargs {
		f.set("varargs", Tuple(extra))
	} else if len(extra) > 0 {
		fail("macro '%s' takes not more than %d argument(s)", d.name, len(d.params))
	}
}
