package vars

import (
	"maps"
	"slices"

	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// Writer is the task that gave a host variables at run time.
type Writer struct {
	What   string     // what to call the place: "set_fact", "registered", "include_vars"
	Pos    source.Pos // of the task
	Secret bool       // the values must not be shown: the task says no_log
}

// Use is a variable that was looked up.
type Use struct {
	Name   string
	From   string     // the kind of place that the value comes from; empty when there is no such variable
	Pos    source.Pos // where it was written, or the task that set it
	Magic  bool       // a variable that is not written anywhere: groups, hostvars and the like
	Secret bool       // set by a task that says no_log
	// Value is the rendered value, and Err why there is none.
	Value any
	Err   error
}

// Defined tells whether there is such a variable.
func (u Use) Defined() bool { return u.From != "" }

// Used are the variables that have been looked up in the Scope so far, in those that it was made of by With, and in those that were made of
// it, sorted by name. Nothing is rendered for it: it is what is remembered anyway.
func (s *Scope) Used() []Use {
	found := map[string]Use{}
	for up := s.of; up != nil; up = up.of {
		up.addUsed(found)
	}
	s.addUsedBelow(found)
	var uses []Use
	for _, name := range slices.Sorted(maps.Keys(found)) {
		uses = append(uses, found[name])
	}
	return uses
}

func (s *Scope) addUsedBelow(to map[string]Use) {
	s.addUsed(to)
	for _, more := range s.made {
		more.addUsedBelow(to)
	}
}

// addUsed adds what this Scope alone has looked up; an earlier entry stays when this one knows nothing of the variable.
func (s *Scope) addUsed(to map[string]Use) {
	for name, a := range s.known {
		u := s.use(name, a)
		if was, ok := to[name]; !ok || u.Defined() || !was.Defined() {
			to[name] = u
		}
	}
}

func (s *Scope) use(name string, a answer) Use {
	u := Use{Name: name, Value: a.v, Err: a.err}
	if !a.ok {
		return u
	}
	if _, u.Magic = s.magic.get(s, name); u.Magic {
		u.From = ofMagic
		return u
	}
	_, l, _ := s.raw(name)
	u.From, u.Pos, u.Secret = l.origin(name)
	return u
}

// origin is where a layer has a variable from.
func (l layer) origin(name string) (from string, pos source.Pos, secret bool) {
	if l.vars != nil {
		return l.name, l.vars.Pos(name), false
	}
	if w, ok := l.writers[name]; ok {
		return w.What, w.Pos, w.Secret
	}
	return l.name, noPlace, false
}

// WrittenBy says which task sets the variables of the host from now on.
func (h *Host) WrittenBy(w Writer) { h.writer = w }

// wroteTo is writers with those of d as well. It is a new map: Scopes that still look at the old one see no change.
func (h *Host) wroteTo(writers map[string]Writer, what string, d *value.Dict) map[string]Writer {
	w := h.writer
	if !w.Pos.Known() {
		return writers
	}
	w.What = what
	more := maps.Clone(writers)
	if more == nil {
		more = map[string]Writer{}
	}
	for k := range d.All() {
		more[expr.String(k)] = w
	}
	return more
}
