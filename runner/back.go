package runner

import (
	"context"
	"math"
	"slices"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// back is a rollback by hand under way. Waves of hosts go back one after the other. What the controller did on behalf of hosts, and what was done on
// hosts outside of batches, goes back in its turn, before the hosts of that turn, because they may be in use by it. The refreshes of a host come when
// all its states are back, those of older batches too.
type back struct {
	*run
	RollbackOptions
	hosts map[string]*hostBack
}

// hostBack is how far one host is.
type hostBack struct {
	taken
	own, cluster           []way
	ownSince, clusterSince int64 // what was done on it, and by the controller on its behalf, from these tasks on is back
	patience               *patience
	told                   bool
	lost                   bool
	again                  bool // not all of it came back in its turn
}

func (b *back) undoing(h string) undoing {
	u := undoing{run: b.Run.ID, force: b.Force, preview: b.Preview, patience: b.hosts[h].patience}
	if b.To > 0 {
		u.downTo = b.To + 1
	}
	return u
}

// all takes every host back, and leaves those whose turn had not come when ctx ends as they are.
func (b *back) all(ctx context.Context, hosts []string) {
	for _, h := range hosts {
		s := &hostBack{ownSince: math.MaxInt64, clusterSince: math.MaxInt64, patience: newPatience(ctx)}
		for _, w := range b.fleet.ways(h) {
			if w.cluster {
				s.cluster = append(s.cluster, w)
			} else {
				s.own = append(s.own, w)
			}
		}
		b.hosts[h] = s
	}
	waves := b.Course.waves(hosts, b.Serial)
	for i, w := range waves {
		e := event.Event{Kind: event.UndoStart, Hosts: w.hosts, Preview: b.Preview}
		if len(waves) > 1 {
			e.Batch, e.Batches = i+1, len(waves)
		}
		b.emit(e)
		if ctx.Err() == nil {
			b.before(ctx, hosts, w)
			if i == len(waves)-1 {
				b.controllers(ctx, hosts, 0) // nobody is left whose turn it could wait for
			}
			b.onEach(w.hosts, func(h string) { b.host(ctx, h) })
		}
	}
	if ctx.Err() == nil {
		b.before(ctx, hosts, wave{hosts: hosts})
	}
	for _, h := range hosts {
		b.last(ctx, h)
	}
	b.canceled = ctx.Err() != nil
}

// before takes back what goes before a wave: what was done from its first task on by the controller, and on hosts outside of batches. Their refreshes
// wait until they are whole.
func (b *back) before(ctx context.Context, hosts []string, w wave) {
	if b.Preview && w.since > 0 {
		return // the last wave tells all
	}
	b.controllers(ctx, hosts, w.since)
	b.onEach(hosts, func(h string) {
		s := b.hosts[h]
		if b.due(h, s.ownSince, w.since) && !b.Course.batched(h) && !slices.Contains(w.hosts, h) {
			b.part(ctx, h, s.own, w.since)
			s.ownSince = w.since
		}
	})
}

// controllers takes back what the controller did on behalf of hosts from a task on.
func (b *back) controllers(ctx context.Context, hosts []string, since int64) {
	b.onEach(hosts, func(h string) {
		s := b.hosts[h]
		if b.due(h, s.clusterSince, since) && len(s.cluster) > 0 {
			b.part(ctx, h, s.cluster, since)
			s.clusterSince = since
		}
	})
}

// due tells whether there may be something between what is back on a host and a task further back.
func (b *back) due(h string, back, since int64) bool {
	return !b.hosts[h].lost && since < back && (since == 0 || b.Course.alteredIn(h, since, back))
}

// part takes back the states of a host that some of its identities altered from a task on.
func (b *back) part(ctx context.Context, h string, ways []way, since int64) {
	s, u := b.hosts[h], b.undoing(h)
	u.downTo = max(u.downTo, since)
	u.downTo = max(u.downTo, b.heldUpAt(ctx, slices.Concat(s.cluster, s.own), u))
	for _, w := range ways {
		b.undoAs(ctx, w, u, remote.UndoOptions{Hold: !w.cluster}, &s.taken)
	}
	s.lost = s.unreachable()
}

func isLost(err error) bool { return err != nil && kindOf(err) == tasks.Unreachable }

// host takes back what was done on a host itself.
func (b *back) host(ctx context.Context, h string) {
	s, u := b.hosts[h], b.undoing(h)
	u.downTo = max(u.downTo, b.heldUpAt(ctx, slices.Concat(s.cluster, s.own), u))
	b.takeBack(ctx, s.own, u, &s.taken)
	s.lost, s.ownSince = s.unreachable(), 0
	if s.again = s.refused() != "" && s.clusterSince > 0 && len(s.cluster) > 0; s.again {
		return // it may depend on what the controller has yet to take back
	}
	if !s.quiet() || len(s.cluster) == 0 {
		b.report(h, s)
	}
}

// last tells what has not been told of a host.
func (b *back) last(ctx context.Context, h string) {
	s := b.hosts[h]
	if err := context.Cause(ctx); err != nil && !s.told {
		s.add(way{Host: h}, journal.Report{}, &tasks.Error{Kind: tasks.Canceled, Op: "take it back", Err: err})
	} else if s.again {
		b.takeBack(ctx, s.own, b.undoing(h), &s.taken)
	}
	if !s.quiet() || !s.told {
		b.report(h, s)
	}
}

// report tells of a host, and begins a new account of it.
func (b *back) report(h string, s *hostBack) {
	if !b.tell(h, &s.taken, b.undoing(h)) {
		b.mu.Lock()
		b.failed = true
		b.mu.Unlock()
	}
	s.taken, s.told = taken{}, true
}
