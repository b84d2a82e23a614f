package expr

import (
	"strings"
	"time"
)

// globals are the functions every template has.
var globals map[string]any

func init() {
	globals = map[string]any{
		"range":     global("range", "*n", rangeFunc),
		"dict":      global("dict", "*pairs, **named", dictFunc),
		"namespace": global("namespace", "*pairs, **named", namespaceFunc),
		"lookup":    global("lookup", "name, *terms, **named", lookupFunc),
		"query":     global("query", "name, *terms, **named", queryFunc),
		"q":         global("q", "name, *terms, **named", queryFunc),
		"now":       global("now", "utc=false, fmt=None", nowFunc),
		"undef":     global("undef", "hint=None", undefFunc),
		"cycler":    global("cycler", "*items", cyclerFunc),
		"joiner":    global("joiner", "sep=', '", joinerFunc),
	}
}

func global(name, sig string, fn func(a args) any) callable {
	s := sign(sig)
	return &funcValue{name, func(f *frame, c callValues) any { return fn(s.bind(f, name+"()", c)) }}
}

func rangeFunc(a args) any {
	bounds := args{v: a.rest}
	start, stop, step := 0, 0, 1
	switch len(a.rest) {
	case 1:
		stop = bounds.int(0)
	case 2:
		start, stop = bounds.int(0), bounds.int(1)
	case 3:
		start, stop, step = bounds.int(0), bounds.int(1), bounds.int(2)
	default:
		fail("range expected 1 to 3 arguments, got %d", len(a.rest))
	}
	if step == 0 {
		fail("range() arg 3 must not be zero")
	}
	out := []any{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(out) >= 1<<24 {
			fail("range() is too long")
		}
		out = append(out, i)
	}
	return out
}

func dictFunc(a args) any {
	d := &Dict{}
	if len(a.rest) > 0 {
		updateDict(d, a.rest[0])
	}
	if a.named != nil {
		updateDict(d, a.named)
	}
	return d
}

// updateDict puts into d what a mapping or a list of pairs holds.
func updateDict(d *Dict, from any) {
	if src, ok := asDict(from); ok {
		for k, v := range src.All() {
			d.Set(k, v)
		}
		return
	}
	for i, pair := range iterate(from) {
		kv := iterate(pair)
		if len(kv) != 2 {
			fail("dictionary update sequence element #%d has length %d; 2 is required", i, len(kv))
		}
		dictSet(d, kv[0], kv[1])
	}
}

// namespace is a bag of attributes that inner scopes may set.
type namespace struct{ attrs *Dict }

func (n *namespace) attr(name string) (any, bool) { return n.attrs.Get(name) }

func namespaceFunc(a args) any { return &namespace{dictFunc(a).(*Dict)} }

func nowFunc(a args) any {
	t := a.f.r.env.opts.Now()
	if a.bool(0) {
		t = t.UTC()
	}
	if a.bool(1) {
		return strftime(a.str(1), t)
	}
	return &dateTime{time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), naive)}
}

func undefFunc(a args) any {
	if a.bool(0) {
		return &Undefined{Message: a.str(0)}
	}
	return &Undefined{Message: "Mandatory variable has not been overridden"}
}

type cycler struct {
	items []any
	i     int
}

func (c *cycler) attr(name string) (any, bool) {
	switch name {
	case "current":
		return c.items[c.i], true
	case "next":
		return &funcValue{name, func(*frame, callValues) any {
			v := c.items[c.i]
			c.i = (c.i + 1) % len(c.items)
			return v
		}}, true
	case "reset":
		return &funcValue{name, func(*frame, callValues) any { c.i = 0; return nil }}, true
	}
	return nil, false
}

func cyclerFunc(a args) any {
	if len(a.rest) == 0 {
		fail("at least one item has to be provided")
	}
	return &cycler{items: a.rest}
}

func joinerFunc(a args) any {
	used := false
	return &funcValue{"joiner", func(*frame, callValues) any {
		if !used {
			used = true
			return ""
		}
		return a.v[0]
	}}
}

// lookupFunc gives the results of a lookup joined with commas, or the one value that is not text.
func lookupFunc(a args) any {
	out := runLookup(a)
	if want := a.opt("wantlist", false); truthy(want) {
		return out
	}
	if out == nil {
		return nil
	}
	return joinResults(out)
}

func joinResults(out []any) any {
	if len(out) == 0 {
		return out
	}
	texts := make([]string, len(out))
	for i, v := range out {
		s, ok := norm(v).(string)
		if !ok {
			if len(out) == 1 {
				return out[0]
			}
			return out
		}
		texts[i] = s
	}
	return strings.Join(texts, ",")
}

func queryFunc(a args) any {
	if out := runLookup(a); out != nil {
		return out
	}
	return []any{}
}

// lookupControls are the named arguments that belong to lookup() and not to the plugin.
var lookupControls = map[string]bool{"wantlist": true, "errors": true, "allow_unsafe": true}

// runLookup runs the plugin. A nil slice means that it failed and the failure is to be ignored.
func runLookup(a args) []any {
	name := a.text(0, "the name of a lookup")
	if a.f.r.noPlugs {
		fail("the lookup '%s' is not allowed in text that came from a host", name)
	}
	l := a.f.r.env.reg.lookup(name)
	if l == nil {
		fail("lookup plugin (%s) not found", name)
	}
	var c callValues
	if a.named != nil {
		for k, v := range a.named.All() {
			if !lookupControls[k.(string)] {
				c.names, c.named = append(c.names, k.(string)), append(c.named, v)
			}
		}
	}
	run := func() []any { return l.run(a.f, flattenTerms(a.rest), c) }
	mode := a.opt("errors", "strict")
	if mode == "strict" {
		return run()
	}
	var out []any
	if err := attempt(func() { out = run() }); err != nil {
		return nil
	}
	return out
}

func (l *lookup) run(f *frame, terms []any, c callValues) []any {
	a := l.sig.bind(f, "lookup '"+l.name+"'", c)
	out := l.fn(a, terms)
	if out == nil {
		out = []any{}
	}
	return out
}

// flattenTerms takes one list of terms for the terms themselves and refuses undefined ones.
func flattenTerms(terms []any) []any {
	for _, t := range terms {
		undefinedFails(t)
	}
	return terms
}
