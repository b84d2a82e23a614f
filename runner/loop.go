package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/tasks"
)

// loop runs the task for each item of its loop.
func (c *call) loop(ctx context.Context) result {
	items, err := c.items()
	if err != nil {
		return c.withoutItems(err)
	}
	if len(items) == 0 {
		return noItems()
	}
	scopes, err := c.itemScopes(items)
	if err != nil {
		return failure(err)
	}
	var results []result
	if c.together() {
		results = c.allItems(ctx, scopes)
	} else {
		results = c.oneByOne(ctx, scopes)
	}
	if c.task.Include != nil {
		return c.includedItems(results)
	}
	return joined(results)
}

// withoutItems is the result when the list cannot be had: an undefined variable is no mistake if the condition does not hold anyway.
func (c *call) withoutItems(err error) result {
	var u *expr.Undefined
	if errors.As(err, &u) {
		if holds, werr := c.holds(c.scope, c.task.When); werr == nil && !holds {
			return skipped()
		}
	}
	return failure(err)
}

// items is the list that the loop goes over.
func (c *call) items() ([]any, error) {
	terms, err := c.scope.Render(c.task.Loop.Terms)
	if err != nil {
		return nil, err
	}
	if c.task.Loop.Lookup != "" {
		return c.lookup(terms)
	}
	list, ok := terms.([]any)
	if !ok {
		return nil, source.Errorf(c.task.Loop.Pos, "Invalid data passed to 'loop', it requires a list, got this instead: %s. Hint: If you passed a "+
			"list/dict of just one element, try adding wantlist=True to your lookup invocation or use q/query instead of lookup.", expr.String(terms))
	}
	return list, nil
}

func (c *call) lookup(terms any) ([]any, error) {
	list, ok := terms.([]any)
	if !ok {
		list = []any{terms}
	}
	if d, ok := terms.(*value.Dict); ok && slices.Contains([]string{"items", "list", "indexed_items"}, c.task.Loop.Lookup) {
		list = nil // the keys, as Python goes over a dict
		for k := range d.All() {
			list = append(list, k)
		}
	}
	return c.env.Lookup(c.task.Loop.Lookup, list, nil, c.task.Loop.Pos, c.scope)
}

// itemScope is a scope with an item in it.
type itemScope struct {
	*vars.Scope
	loop *value.Dict // the loop's variables
	item any
}

// itemScopes are the scopes of the items, with the variables that loop_control asks for.
func (c *call) itemScopes(items []any) ([]itemScope, error) {
	l := c.task.Loop
	in := render(c.scope)
	name, err1 := l.Var.Get(in, "item")
	index, err2 := l.IndexVar.Get(in, "")
	extended, err3 := l.Extended.Get(in, false)
	all, err4 := l.ExtendedAllItems.Get(in, true)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	scopes := make([]itemScope, len(items))
	for i, item := range items {
		d := value.NewDict(name, item, "ansible_loop_var", name)
		if index != "" {
			d.Set(index, i)
			d.Set("ansible_index_var", index)
		}
		if extended {
			d.Set("ansible_loop", extendedVars(items, i, all))
		}
		scopes[i] = itemScope{Scope: c.scope.With("loop variables", d), loop: d, item: item}
	}
	return scopes, nil
}

// extendedVars are ansible_loop of loop_control: extended.
func extendedVars(items []any, i int, all bool) *value.Dict {
	n := len(items)
	d := value.NewDict("index", i+1, "index0", i, "first", i == 0, "last", i == n-1, "length", n, "revindex", n-i, "revindex0", n-i-1)
	if all {
		d.Set("allitems", items)
	}
	if i > 0 {
		d.Set("previtem", items[i-1])
	}
	if i < n-1 {
		d.Set("nextitem", items[i+1])
	}
	return d
}

// together tells whether the items can travel in one frame: nothing a later item needs comes from an earlier one's answer.
func (c *call) together() bool {
	_, acts := c.actions[c.task.Module]
	_, delegated := c.task.DelegateTo.Template()
	return c.task.Include == nil && len(c.task.Until) == 0 && !c.task.Loop.Pause.IsSet() && !delegated && !acts
}

// allItems prepares every item, sends those that need the host, and finishes them in order.
func (c *call) allItems(ctx context.Context, scopes []itemScope) []result {
	ps := make([]*prepared, len(scopes))
	var away []*prepared
	for i, s := range scopes {
		ps[i] = c.prepareItem(ctx, s)
		if ps[i].result == nil {
			away = append(away, ps[i])
			continue
		}
		r := c.conclude(ctx, ps[i])
		ps[i].result = &r
	}
	c.sendAll(ctx, away)
	results := make([]result, len(ps))
	for i, p := range ps {
		results[i] = p.labelled(*p.result)
		c.emitItem(results[i])
	}
	return results
}

// sendAll sends prepared calls in order, as many with one frame as are alike.
func (c *call) sendAll(ctx context.Context, ps []*prepared) {
	for len(ps) > 0 {
		n := 1
		for n < len(ps) && alike(ps[0], ps[n]) {
			n++
		}
		for i, got := range c.send(ctx, ps[:n]) {
			r := c.finish(ctx, ps[i], got)
			ps[i].result = &r
		}
		ps = ps[n:]
	}
}

func (c *call) prepareItem(ctx context.Context, s itemScope) *prepared {
	p := c.prepare(ctx, s.Scope)
	p.loop, p.label = s.loop, s.item
	if c.task.Loop.Label != nil {
		label, err := s.Render(c.task.Loop.Label)
		if err != nil {
			f := failure(err)
			p.result = &f
		}
		p.label = label
	}
	return p
}

func (p *prepared) labelled(r result) result {
	r.loop, r.label, r.scope = p.loop, p.label, p.scope
	return r
}

// oneByOne runs each item when the one before is done; variables that an item sets are there for the next.
func (c *call) oneByOne(ctx context.Context, scopes []itemScope) []result {
	var results []result
	set := value.NewDict()
	for i, s := range scopes {
		if set.Len() > 0 {
			s.Scope = c.scope.With("set_fact", set).With("loop variables", s.loop)
		}
		p := c.prepareItem(ctx, s)
		r := p.labelled(c.conclude(ctx, p))
		for k, v := range r.facts.All() {
			set.Set(k, v)
		}
		results = append(results, r)
		c.emitItem(r)
		if i == len(scopes)-1 {
			break
		}
		if err := c.pause(ctx, s); err != nil {
			r := p.labelled(brokenOff(ctx, err))
			c.emitItem(r)
			results = append(results, r)
			break
		}
	}
	return results
}

// brokenOff is the result of a loop that ended in a pause: what is left of its items was not done.
func brokenOff(ctx context.Context, err error) result {
	if ctx.Err() != nil {
		err = &tasks.Error{Kind: tasks.Canceled, Op: "go on with the loop", Err: err}
	}
	return failure(err)
}

func (c *call) pause(ctx context.Context, s itemScope) error {
	seconds, err := c.task.Loop.Pause.Get(render(s.Scope), 0)
	if err != nil || seconds <= 0 {
		return err
	}
	return action.Wait(ctx, time.Duration(seconds*float64(time.Second)))
}

// emitItem shows one item.
func (c *call) emitItem(r result) {
	if r.include != nil {
		return
	}
	e := c.event(event.ItemDone, r)
	if e.Label == nil {
		e.Label = "None"
	}
	c.emit(e)
}

// event is how a result is shown.
func (c *call) event(kind event.Kind, r result) event.Event {
	e := event.Event{Kind: kind, Host: c.host.name, Delegated: r.via, Status: r.status(), Label: value.ToGo(r.label), Result: r.shown(),
		Verbose: r.verbose, Hint: r.hint, Table: r.table}
	if c.set.diff {
		e.Diff = diffs(r.Diff)
	}
	if e.Status == event.Failed && c.set.ignoreErrors {
		e.Status = event.Ignored
	}
	c.explain(&e, r)
	if c.set.noLog {
		e.Diff, e.Label, e.Hint, e.Table = nil, nil, "", nil
		e.Result = map[string]any{"censored": "the output has been hidden due to the fact that 'no_log: true' was specified for this result", "changed": r.Changed}
		if r.loop != nil {
			e.Label = "(censored due to no_log)"
		}
	}
	return e
}

// includedItems gathers the inclusions of a looped include.
func (c *call) includedItems(items []result) result {
	sum := joined(items)
	for _, r := range items {
		if r.include != nil {
			sum.includes = append(sum.includes, r.include)
		}
	}
	return sum
}

func (c *call) String() string { return fmt.Sprintf("%s on %s", c.task.Name.Text(), c.host.name) }
