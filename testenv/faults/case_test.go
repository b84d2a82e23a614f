package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/testenv"
)

// trial is a fault at a point of a batch, to one of its hosts.
type trial struct {
	fault fault
	point point
	batch int // from 1
	which int // of the batch's hosts

	resume bool // go on with the run afterwards: then every host is as after
}

func (c trial) String() string {
	return fmt.Sprintf("%s at %s of batch %d", c.fault.name, c.point.name, c.batch)
}

// try runs the play with the fault, checks what came of it, takes the run back, and checks that.
func (r *rig) try(c trial) row {
	r.Helper()
	began := time.Now()
	h := r.lab.Host(r.batches[c.batch-1][c.which])
	c.fault.mount(r, h)
	if c.point.ready != nil {
		c.point.ready(r, h)
	}
	w, struck := r.strike(c, h)
	if c.fault.heal != nil {
		c.fault.heal(w, h)
	}
	if c.point.release != nil {
		r.check(c.point.release(r, h))
	}
	s := w.said()
	outcome, problems := r.judge(c, h, s)
	if !struck {
		problems = append(problems, "the point did not come")
	}
	problems = append(problems, r.free()...)
	if c.resume {
		problems = append(problems, r.resume(s)...)
	}
	problems = append(problems, r.rollback(s)...)
	problems = append(problems, r.allBefore()...)
	c.fault.unmount(r, h)
	if len(problems) > 0 {
		r.Errorf("%v (%s):\n  %s\n%s", c, h.Name, strings.Join(problems, "\n  "), w)
	}
	return row{fault: c.fault.name, point: c.point.name, batch: c.batch, victim: h.Name, outcome: outcome, problems: len(problems), took: time.Since(began)}
}

// strike runs the play until the program has ended; struck tells that the fault was made.
func (r *rig) strike(c trial, h *testenv.Host) (w *run, struck bool) {
	r.Helper()
	p := &progress{batch: c.batch}
	met := false
	w = r.start(func(w *run, e event.Event) {
		p.see(e)
		switch {
		case !met && c.point.here(p, e):
			met = true
			struck = w.meet(c, h)
		case struck && e.Kind == event.UndoStart && c.fault.again != nil:
			c.fault.again(w, h)
		}
	})
	w.wait()
	return w, struck && !w.missed
}

// meet makes the fault now, or has it made when what the point waits for has come.
func (w *run) meet(c trial, h *testenv.Host) bool {
	if c.point.plant != nil {
		w.still(func() { c.point.plant(w.rig, h) })
	}
	if c.point.wait == nil {
		w.still(func() { c.fault.strike(w, h) })
		return true
	}
	w.later.Go(func() {
		if err := c.point.wait(w, h); err != nil {
			w.missed = true
			return
		}
		w.still(func() { c.fault.strike(w, h) })
		if c.point.release != nil && !c.point.hangs {
			w.release(c.point, h)
		}
	})
	return true
}

// release lets the victim go on as soon as it can be told, however long it cannot, if the run does not end before.
func (w *run) release(p point, h *testenv.Host) {
	for tick := time.Tick(50 * time.Millisecond); p.release(w.rig, h) != nil; {
		select {
		case <-w.ended:
			return // it is released after the run
		case <-tick:
		}
	}
}

// judge compares what the run said with what is so, and tells in a few words what it came to.
func (r *rig) judge(c trial, victim *testenv.Host, s said) (outcome string, problems []string) {
	r.Helper()
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if s.over == c.fault.ends {
		bad("the run ended by itself: %v, want %v", s.over, !c.fault.ends)
	}
	for name, now := range r.pictures() {
		if why := r.misplaced(name, now, s); why != "" {
			bad("%s %s", name, why)
		}
	}
	for _, name := range s.bad() {
		if name != victim.Name && !(c.fault.shared && slices.Contains(slices.Concat(r.batches[c.batch-1:]...), name)) {
			bad("%s is said to have failed or been lost, and nothing happened to it", name)
		}
	}
	if s.over {
		problems = append(problems, r.report(s)...)
	}
	if c.fault.spares && len(s.committed) != len(r.lab.Hosts) {
		bad("%d of %d hosts were committed", len(s.committed), len(r.lab.Hosts))
	}
	return s.outcome(len(r.batches)), problems
}

// misplaced says in which way a host is not as the run says it is; "" when it is.
func (r *rig) misplaced(name string, now testenv.Snapshot, s said) string {
	in := func(list []string) bool { return slices.Contains(list, name) }
	switch {
	case in(s.committed):
		return s.differs("was committed and is not as after", r.after[name], now)
	case in(s.undone):
		return s.differs("was undone and is not as before", r.before[name], now)
	case !in(s.worked()):
		return s.differs("was not reached and is not as before", r.before[name], now)
	case s.over && !in(s.open):
		return "was neither committed nor undone, and is not named as open"
	}
	return ""
}

// differs passes over objects of the cluster where the run says that its controller's work is open.
func (s said) differs(what string, want, now testenv.Snapshot) string {
	if slices.Contains(s.open, controller) {
		want, now = maps.Clone(want), maps.Clone(now)
		for _, all := range []testenv.Snapshot{want, now} {
			maps.DeleteFunc(all, func(thing, _ string) bool { return strings.HasPrefix(thing, "object ") })
		}
	}
	return differs(what, want, now)
}

func differs(what string, want, now testenv.Snapshot) string {
	if diff := want.Diff(now); len(diff) > 0 {
		return what + ": " + strings.Join(diff, "; ")
	}
	return ""
}

// report checks the exit code, the recap, what the run advises, and what the store has.
func (r *rig) report(s said) (problems []string) {
	r.Helper()
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	want := runner.ExitOK
	switch {
	case len(s.lost)+len(s.away) > 0: // a host that dies may fail before it is lost
		want = runner.ExitUnreachable
	case len(s.failed) > 0:
		want = runner.ExitFailed
	}
	if s.exit != want {
		bad("the exit code is %d, want %d", s.exit, want)
	}
	delete(s.recap, controller) // it is there when an undo has come to what it did for hosts
	if got, want := slices.Sorted(maps.Keys(s.recap)), slices.Sorted(slices.Values(s.worked())); !slices.Equal(got, want) {
		bad("the recap has %v, want %v", got, want)
	}
	for name, n := range s.recap {
		if (n.Failed > 0) != slices.Contains(s.failed, name) || (n.Unreachable > 0) != slices.Contains(s.lost, name) {
			bad("the recap of %s is %+v", name, n)
		}
	}
	if changed := len(s.committed)+len(s.open) > 0; s.exit != runner.ExitOK && changed && !strings.Contains(s.advice, s.id) {
		bad("the run does not say what to do next")
	}
	meta := r.stored(s.id)
	if meta.Exit == nil || *meta.Exit != s.exit || meta.State == store.Running {
		bad("the run store has the run as %s", meta.State)
	}
	return problems
}

// stored is a run as the store has it.
func (r *rig) stored(id string) store.Meta {
	r.Helper()
	out, err := r.command("runs", "ls", "-o", "json").Output()
	r.must(err)
	var all []store.Meta
	r.must(json.Unmarshal(out, &all))
	i := slices.IndexFunc(all, func(m store.Meta) bool { return m.ID == id })
	if i < 0 {
		r.Fatalf("the store does not have the run %s", id)
	}
	return all[i]
}

// outcome is what the run came to. It is one of those that a fault may lead to, or judge has found a problem.
func (s said) outcome(batches int) string {
	switch {
	case !s.over:
		return fmt.Sprintf("resumable, killed in batch %d", len(s.batches))
	case len(s.open) > 0:
		return fmt.Sprintf("resumable, open: %s", strings.Join(s.open, ", "))
	case len(s.bad()) > 0:
		return fmt.Sprintf("batch %d rolled back", len(s.batches))
	case len(s.batches) == batches:
		return "all committed"
	}
	return "not ended"
}

// resume goes on with the run, now that nothing stands in its way.
func (r *rig) resume(s said) (problems []string) {
	r.Helper()
	w := r.follow(nil, "resume", s.id, "--output", "json")
	w.wait()
	if on := w.said(); !on.over || on.exit != runner.ExitOK {
		problems = append(problems, fmt.Sprintf("the resume ends with %d\n%s", on.exit, w))
	}
	for name, now := range r.pictures() {
		if why := differs("was resumed and is not as after", r.after[name], now); why != "" {
			problems = append(problems, name+" "+why)
		}
	}
	return problems
}

// rollback takes the run back by hand.
func (r *rig) rollback(s said) (problems []string) {
	r.Helper()
	w := r.follow(nil, "rollback", s.id, "-i", r.inventory, "--output", "json", "-T", "30")
	w.wait()
	back := w.said()
	if !back.over || back.exit != runner.ExitOK || len(back.open) > 0 {
		problems = append(problems, fmt.Sprintf("the rollback ends with %d, open: %v\n%s", back.exit, back.open, w))
	}
	missing := slices.DeleteFunc(s.worked(), func(name string) bool { return slices.Contains(back.undone, name) })
	if len(missing) > 0 {
		problems = append(problems, fmt.Sprintf("the rollback does not name %v", missing))
	}
	if state := r.stored(s.id).State; state != store.RolledBack {
		problems = append(problems, fmt.Sprintf("after the rollback the store has the run as %s", state))
	}
	return problems
}

// allBefore checks that every host is as before.
func (r *rig) allBefore() (problems []string) {
	r.Helper()
	for name, now := range r.pictures() {
		if why := differs("is not as before after all", r.before[name], now); why != "" {
			problems = append(problems, name+" "+why)
		}
	}
	return problems
}
