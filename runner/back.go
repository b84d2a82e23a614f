package runner

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// back is a rollback by hand under way. Waves of hosts go back one after the other. Before each goes what is newer and no part of a batch that is still
// to come: what the controller did on behalf of hosts, and what was done on hosts outside of batches, in the reverse of the order in which it was done.
// The refreshes of a host come when all its states are back, those of older batches too.
type back struct {
	*run
	RollbackOptions
	hosts map[string]*hostBack
	steps []step // of the whole run
}

// hostBack is how far one host is.
type hostBack struct {
	taken
	own, cluster           []way
	ownSince, clusterSince int64 // what was done on it, and by the controller on its behalf, from these tasks on is back
	free                   int64 // what was done on it from this task on goes back in parts
	patience               *patience
	told                   bool
	lost                   bool
	begun, broken          bool // something may be back; not all of it could be tried
	again                  bool // not all of it came back in its turn
}

// ways are all of a host, the controller's own work first.
func (s *hostBack) ways() []way { return slices.Concat(s.cluster, s.own) }

func (b *back) undoing(h string) undoing {
	u := undoing{run: b.Run.ID, force: b.Force, preview: b.Preview, patience: b.hosts[h].patience}
	if b.To > 0 {
		u.downTo = b.To + 1
	}
	return u
}

// all takes every host back, and leaves those whose turn had not come when ctx ends as they are.
func (b *back) all(ctx context.Context, hosts []string) {
	b.prepare(ctx, hosts)
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
	for _, h := range hosts {
		b.last(ctx, h)
	}
	b.canceled = ctx.Err() != nil
}

// prepare finds out how hosts were worked on, and which tasks the controller carried out.
func (b *back) prepare(ctx context.Context, hosts []string) {
	var controller []int64
	for _, h := range hosts {
		s := &hostBack{ownSince: math.MaxInt64, clusterSince: math.MaxInt64, patience: newPatience(ctx), free: b.Course.free(h)}
		for _, w := range b.fleet.ways(h) {
			if w.cluster {
				s.cluster = append(s.cluster, w)
			} else {
				s.own = append(s.own, w)
			}
		}
		b.hosts[h] = s
		done, _ := journal.Read(b.fleet.clusterDir(h), b.Run.ID) // a journal that cannot be read says so when it is undone
		for _, e := range done {
			controller = append(controller, e.Task)
		}
	}
	b.steps = b.Course.backwards(controller)
}

// before takes back what goes before a wave. A preview lets the last wave tell all.
func (b *back) before(ctx context.Context, hosts []string, w wave) {
	if b.Preview {
		return
	}
	for _, s := range downTo(w.since, b.steps) {
		if s.controller {
			b.controllers(ctx, hosts, s.since)
		} else {
			b.parts(ctx, hosts, s.since, w)
		}
	}
}

// parts takes back what was done on hosts from a task on and belongs to none of their batches. The last part of a host of the wave comes with the wave.
// Their refreshes wait until they are whole.
func (b *back) parts(ctx context.Context, hosts []string, since int64, w wave) {
	for together := range slices.Chunk(hosts, cmp.Or(b.Serial, max(len(hosts), 1))) {
		b.onEach(together, func(h string) {
			s := b.hosts[h]
			from := max(since, s.free)
			if !b.due(h, s.ownSince, from) || since == w.since && slices.Contains(w.hosts, h) {
				return
			}
			b.part(ctx, h, s.own, from)
			s.ownSince = from
		})
	}
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
	if b.holdUp(ctx, s.ways(), &u, &s.taken, ways) {
		for _, w := range ways {
			b.undoAs(ctx, w, u, remote.UndoOptions{Hold: !w.cluster}, &s.taken)
		}
	}
	s.lost = s.unreachable()
}

func isLost(err error) bool { return err != nil && kindOf(err) == tasks.Unreachable }

// host takes back what was done on a host itself.
func (b *back) host(ctx context.Context, h string) {
	s := b.hosts[h]
	b.own(ctx, h, s)
	s.lost, s.ownSince = s.unreachable(), 0
	if s.again = s.refused() != "" && s.clusterSince > 0 && len(s.cluster) > 0; s.again {
		return // it may depend on what the controller has yet to take back
	}
	if !s.quiet() || len(s.cluster) == 0 {
		b.report(h, s)
	}
}

// own takes back what a host has done itself.
func (b *back) own(ctx context.Context, h string, s *hostBack) {
	if u := b.undoing(h); b.holdUp(ctx, s.ways(), &u, &s.taken, s.own) {
		b.takeBack(ctx, s.own, u, &s.taken)
	}
}

// last tells what has not been told of a host.
func (b *back) last(ctx context.Context, h string) {
	s := b.hosts[h]
	if err := context.Cause(ctx); err != nil && !s.told {
		s.add(way{Host: h}, journal.Report{}, &tasks.Error{Kind: tasks.Canceled, Op: "take it back", Err: err})
	} else if s.again {
		b.own(ctx, h, s)
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
	s.begun, s.broken = s.begun || s.taken.begun, s.broken || s.err() != nil
	s.taken, s.told = taken{}, true
}
