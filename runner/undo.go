package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// undoing says what is undone.
type undoing struct {
	run    string
	downTo int64    // only what tasks from this number on did; 0 is all
	of     []string // only what was done for these hosts; none is all
	force  bool
}

// owners are the hosts for which what is undone on a host was done, as its journal has it.
func (u undoing) owners(host string) []string {
	if slices.Contains(u.of, host) {
		return append(slices.Clone(u.of), "")
	}
	return u.of
}

// delegated remembers that a host has done something in the place of another.
func (r *run) delegated(host, by string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.others[host], by) {
		r.others[host] = append(r.others[host], by)
	}
}

// inPlaceOf are the hosts that have done something in the place of these, without themselves, sorted.
func (r *run) inPlaceOf(hosts []string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]bool{}
	for _, h := range hosts {
		for _, by := range r.others[h] {
			if !slices.Contains(hosts, by) {
				all[by] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// undoHosts takes hosts back, many at a time, and tells what came of it; whole means that every one is as it was.
func (r *run) undoHosts(ctx context.Context, hosts []string, u undoing) (whole bool) {
	var failed atomic.Bool
	r.onEach(hosts, func(h string) {
		if !r.undoHost(ctx, h, u) {
			failed.Store(true)
		}
	})
	return !failed.Load()
}

// onEach does something for each host, for at most forks of them at a time.
func (r *run) onEach(hosts []string, do func(host string)) {
	places := make(chan struct{}, max(r.o.Forks, 1))
	var wg sync.WaitGroup
	for _, h := range hosts {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			do(h)
		})
	}
	wg.Wait()
}

// undoHost takes one host back as every identity that worked there, and reports it as one line.
func (r *run) undoHost(ctx context.Context, host string, u undoing) bool {
	var all []journal.Item
	var errs []error
	ways := r.fleet.ways(host)
	u.downTo = max(u.downTo, r.heldUpAt(ctx, ways, u))
	for _, w := range ways {
		items, err := r.undoAs(ctx, w, u)
		all, errs = append(all, items...), append(errs, err)
	}
	e := event.Event{Kind: event.UndoHost, Host: host}
	e.Status, e.Message = undoSummary(all, errors.Join(errs...))
	if u.of != nil && !slices.Contains(u.of, host) {
		e.Message += ", done for " + strings.Join(u.of, ", ")
	}
	r.emit(e)
	r.mu.Lock()
	if c := r.counts[host]; c != nil {
		c.Undone += countRestored(all)
	} else {
		r.counts[host] = &event.Counts{Undone: countRestored(all)}
	}
	r.mu.Unlock()
	return e.Status == event.OK || e.Status == event.Changed
}

// heldUpAt is the last task of the run that put down a point of no return which has been passed; 0 for none. Each identity has a journal of its
// own, and where there are several the others must stop there as well. A host that does not answer tells when it is undone itself.
func (r *run) heldUpAt(ctx context.Context, ways []way, u undoing) int64 {
	var last int64
	if u.force || len(ways) < 2 {
		return 0
	}
	for _, w := range ways {
		c, err := r.fleet.again(ctx, w)
		if err != nil {
			continue
		}
		report, err := c.Undo(ctx, u.run, r.fleet.holder, remote.UndoOptions{Guards: true, For: u.owners(w.Host)})
		for _, i := range report.Items {
			if err == nil {
				last = max(last, i.Task)
			}
		}
	}
	return last
}

func (r *run) undoAs(ctx context.Context, w way, u undoing) ([]journal.Item, error) {
	c, err := r.fleet.again(ctx, w)
	if err != nil {
		return nil, err
	}
	report, err := c.Undo(ctx, u.run, r.fleet.holder, remote.UndoOptions{Force: u.force, DownTo: u.downTo, For: u.owners(w.Host)})
	return report.Items, err
}

func countRestored(items []journal.Item) int {
	n := 0
	for _, i := range items {
		if i.Outcome == tasks.Restored || i.Outcome == tasks.Forced {
			n++
		}
	}
	return n
}

// undoSummary is the line about a host.
func undoSummary(items []journal.Item, err error) (event.Status, string) {
	counts := map[tasks.Outcome]int{}
	var bad []string
	for _, i := range items {
		counts[i.Outcome]++
		if i.Outcome == tasks.Foreign || i.Outcome == tasks.Undoable {
			bad = append(bad, fmt.Sprintf("\n    %s %s: %s", i.Kind, i.Key, i.Error))
		}
	}
	text := fmt.Sprintf("%d restored, %d as before, %d refreshed", counts[tasks.Restored]+counts[tasks.Forced], counts[tasks.Unchanged], counts[tasks.Fired])
	switch {
	case err != nil && tasks.KindOf(err) == tasks.Unreachable:
		return event.Unreachable, "its run stays open: " + err.Error()
	case err != nil:
		return event.Failed, "its run stays open: " + err.Error()
	case len(bad) > 0:
		return event.Failed, text + ", not taken back:" + strings.Join(bad, "")
	case counts[tasks.Restored]+counts[tasks.Forced] == 0:
		return event.OK, "nothing to take back"
	}
	return event.Changed, text
}
