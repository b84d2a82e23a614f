package runner

import (
	"bytes"
	"encoding/json"

	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/tasks"
)

// kept is a result as the run store keeps it, so that another process can go on from it. It reads back as exactly the same result, or is not written:
// then the task is done once more.
type kept struct {
	Result  tasks.Result `json:"result,omitzero"` // without what follows
	Values  exact        `json:"values,omitzero"`
	Facts   exact        `json:"facts,omitzero"`
	More    exact        `json:"more,omitzero"`
	Set     exact        `json:"set,omitzero"` // by set_fact or include_vars
	Loop    exact        `json:"loop,omitzero"`
	Label   exact        `json:"label,omitzero"`
	Join    *keptJoin    `json:"join,omitempty"`
	Via     string       `json:"via,omitempty"`
	Items   []kept       `json:"items,omitempty"`
	Ignored bool         `json:"ignored,omitempty"`

	Vars, Fact, ToDelegate, Degraded bool `json:",omitempty"`

	// Hidden: the task says no_log, or a secret is in its result; only how it ended is kept.
	Hidden bool `json:"hidden,omitempty"`
	// Needed: a later task may need what is hidden.
	Needed bool `json:"needed,omitempty"`
}

// keptJoin is an action.Join.
type keptJoin struct {
	Host    string   `json:"host,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	Parents []string `json:"parents,omitempty"`
	Vars    exact    `json:"vars,omitzero"`
}

// exact is a value of playbooks in JSON that reads back the same; the zero value is no value.
type exact json.RawMessage

// IsZero tells that there is no value.
func (e exact) IsZero() bool { return len(e) == 0 }

// MarshalJSON writes the text.
func (e exact) MarshalJSON() ([]byte, error) { return json.RawMessage(e).MarshalJSON() }

// UnmarshalJSON keeps the text.
func (e *exact) UnmarshalJSON(text []byte) error {
	*e = append((*e)[:0], text...)
	return nil
}

func (e exact) value() any {
	if e.IsZero() {
		return nil
	}
	v, err := value.FromJSON(e)
	if err != nil {
		return nil // it was written by Exact
	}
	return v
}

func (e exact) dict() *value.Dict {
	d, _ := e.value().(*value.Dict)
	return d
}

func (e exact) goMap() map[string]any {
	m, _ := value.ToGo(e.value()).(map[string]any)
	return m
}

// keeper writes the parts of a result; the first that cannot be written exactly ends it.
type keeper struct{ err error }

func (k *keeper) exact(v any, is bool) exact {
	if !is || k.err != nil {
		return nil
	}
	raw, err := value.Exact(v)
	k.err = err
	return raw
}

func (k *keeper) result(r result) kept {
	out := kept{Result: r.Result, Via: r.via, Vars: r.factsAsVars, Fact: r.keep, ToDelegate: r.delegateFacts, Degraded: r.degraded,
		Values: k.exact(r.Values, r.Values != nil), Facts: k.exact(r.Facts, r.Facts != nil), Set: k.exact(r.facts, r.facts != nil),
		Loop: k.exact(r.loop, r.loop != nil), Label: k.exact(r.label, r.label != nil)}
	out.Result.Values, out.Result.Facts = nil, nil
	if j := r.join; j != nil {
		out.Join = &keptJoin{Host: j.Host, Groups: j.Groups, Parents: j.Parents, Vars: k.exact(j.Vars, j.Vars != nil)}
	}
	more := map[string]any{}
	for name, v := range r.more {
		if name != "results" || r.items == nil { // the items tell them again
			more[name] = value.FromGo(v)
		}
	}
	out.More = k.exact(more, len(more) > 0)
	for _, item := range r.items {
		out.Items = append(out.Items, k.result(item))
	}
	return out
}

// result is what was kept, as it was.
func (k kept) result() result {
	r := result{Result: k.Result, via: k.Via, factsAsVars: k.Vars, keep: k.Fact, delegateFacts: k.ToDelegate, degraded: k.Degraded,
		facts: k.Set.dict(), loop: k.Loop.dict(), label: k.Label.value(), more: k.More.goMap()}
	r.Values, r.Facts = k.Values.goMap(), k.Facts.goMap()
	if j := k.Join; j != nil {
		r.join = &action.Join{Host: j.Host, Groups: j.Groups, Parents: j.Parents, Vars: j.Vars.dict()}
	}
	if k.Items == nil {
		return r
	}
	results := make([]any, len(k.Items))
	for i, item := range k.Items {
		r.items = append(r.items, item.result())
		results[i] = r.items[i].vars()
	}
	r.set("results", results)
	return r
}

// keepResult is a result in the form that is stored, nil when the task has to be done once more by whoever goes on. Of what is hidden, or holds one of the
// secrets, only the end is kept.
func (p *play) keepResult(o outcome, registered bool) json.RawMessage {
	var k keeper
	full := k.result(o.result)
	full.Ignored = o.ignored
	if raw, err := plainJSON(full); k.err == nil && err == nil && !o.hidden && !p.mask.InJSON(raw) {
		return raw
	}
	r := o.result
	needed := registered || r.join != nil
	for _, i := range r.each() {
		needed = needed || i.facts != nil || len(i.Facts) > 0
	}
	short := kept{Result: tasks.Result{Changed: r.Changed, Failed: r.Failed, Kind: r.Kind, Skipped: r.Skipped}, Via: r.via, Ignored: o.ignored,
		Degraded: r.degraded, Hidden: true, Needed: needed}
	raw, err := plainJSON(short)
	if err != nil {
		return nil
	}
	return raw
}

// plainJSON is v in JSON with every character as it is, so that a secret can be found in it.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}
