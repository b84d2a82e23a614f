package runner

import (
	"errors"
	"maps"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/tasks"
)

// result is what one call of a task, or one item of its loop, came to.
type result struct {
	tasks.Result
	more        map[string]any // further registered values: attempts, results, skip_reason
	facts       *value.Dict    // set by set_fact or include_vars
	factsAsVars bool           // include_vars
	keep        bool           // facts that count as facts of the host too
	// delegateFacts gives the facts to the host that the task was delegated to.
	delegateFacts bool
	loop          *value.Dict // the loop's variables, for one item
	label         any
	include       *inclusion   // of one include
	includes      []*inclusion // of a loop over includes
	verbose       bool
	degraded      bool // a report of checks found something that is not as it should be
	table         *event.Table
	join          *action.Join // set by add_host or group_by
	retried       bool
	via           string   // the host it was delegated to
	items         []result // of a loop
	pos           source.Pos
	hint          string
	scope         *vars.Scope // with the item, for one item of a loop
}

// inclusion is what an include task brings in.
type inclusion struct {
	file string             // of include_tasks
	use  *playbooks.RoleUse // of include_role, rendered
	vars *value.Dict        // loop variables
}

// failure is a result that failed because of err.
func failure(err error) result {
	r := result{Result: tasks.Failure(err)}
	var u *expr.Undefined
	if errors.As(err, &u) {
		r.Msg = "The task includes an option with an undefined variable. The error was: " + u.Message
	}
	var p *source.Problem
	if errors.As(err, &p) {
		r.pos, r.hint = p.Pos, p.Hint
		r.Msg = p.Error()
	}
	return r
}

// unreachable tells whether the host could not be talked to.
func (r result) unreachable() bool { return r.Failed && r.Kind == tasks.Unreachable }

// vars is the result as the registered variable shows it, under Ansible's names.
func (r result) vars() *value.Dict {
	m := r.Result.Vars()
	maps.Copy(m, r.more)
	if r.unreachable() {
		m["unreachable"] = true
		delete(m, "failed")
	}
	if !r.Failed && !r.ran() {
		delete(m, "failed")
	}
	d, _ := value.FromGo(m).(*value.Dict)
	for k, v := range r.loop.All() {
		d.Set(k, v)
	}
	return d
}

// ran tells that a module or an action has answered: Ansible gives skipped tasks and sums of loops no "failed".
func (r result) ran() bool {
	_, skipped := r.more["skip_reason"]
	_, sum := r.more["results"]
	return !skipped && !sum
}

// shown is the result as printers show it.
func (r result) shown() map[string]any {
	m, _ := value.ToGo(r.vars()).(map[string]any)
	delete(m, "diff")
	delete(m, "warnings")
	delete(m, "failed") // the line says it
	if r.verbose && !r.Changed {
		delete(m, "changed")
	}
	return m
}

// set adds a registered value.
func (r *result) set(name string, v any) {
	if r.more == nil {
		r.more = map[string]any{}
	}
	r.more[name] = v
}

// skipped is the result of a task whose condition does not hold.
func skipped() result {
	r := result{Result: tasks.Result{Skipped: true}}
	r.set("skip_reason", "Conditional result was False")
	return r
}

// status is how printers and the recap name it.
func (r result) status() event.Status {
	switch {
	case r.unreachable():
		return event.Unreachable
	case r.Failed:
		return event.Failed
	case r.Skipped:
		return event.Skipped
	case r.Changed:
		return event.Changed
	}
	return event.OK
}

// joined is the result of a loop: Ansible's summary over the results of its items.
func joined(items []result) result {
	sum := result{items: items}
	list := make([]any, len(items))
	allSkipped := len(items) > 0
	for i, r := range items {
		list[i] = r.vars()
		sum.Changed = sum.Changed || r.Changed
		allSkipped = allSkipped && r.Skipped
		if r.Failed {
			sum.Failed = true
			sum.Kind = r.Kind
		}
		sum.Warnings = append(sum.Warnings, r.Warnings...)
	}
	sum.set("results", list)
	sum.set("skipped", allSkipped)
	switch {
	case sum.Failed:
		sum.Msg = "One or more items failed"
	case allSkipped:
		sum.Skipped, sum.Msg = true, "All items skipped"
	default:
		sum.Msg = "All items completed"
	}
	return sum
}

// noItems is the result of a loop over nothing.
func noItems() result {
	r := result{Result: tasks.Result{Skipped: true}}
	r.set("skipped_reason", "No items in the list")
	r.set("results", []any{})
	return r
}

// diffs are the event's form of what a module changed.
func diffs(ds []tasks.Diff) []event.Diff {
	var out []event.Diff
	for _, d := range ds {
		out = append(out, event.Diff{Before: text(d.Before), After: text(d.After), BeforeHeader: d.BeforeHeader, AfterHeader: d.AfterHeader, Prepared: d.Prepared})
	}
	return out
}
