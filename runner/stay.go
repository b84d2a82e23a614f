package runner

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calroll/calroll/runner/conn"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks/journal"
)

// A run with more hosts than it is to be connected to at a time leaves those that nobody needs, the one first that has been idle longest, and comes
// back when it needs them. A host that was left stays locked for the run: it is visited before the lock expires, and at the end of the run to give it
// back.

// leastMost is how many hosts may be connected at a time however few forks there are.
const leastMost = 64

// mostConnected is how many hosts are connected at a time. Each fork needs one, and seldom another that its task reads from, and as many again are
// visited: so there is always one that can be left. The rest are there to be found connected.
func mostConnected(o Options) int { return cmp.Or(o.Connections, max(4*o.Forks, leastMost)) }

const (
	// visitAfter is for how long a host that is locked for the run may be left.
	visitAfter = journal.Expiry / 2
	// visitEvery is how often the keeper looks which hosts that are.
	visitEvery = visitAfter / 6
)

// stay is the connection to a host as one login user, with the helpers at its end: they are left together.
type stay struct {
	link slot[conn.Conn]

	// What follows is guarded by the fleet's mu.
	berths map[string]*berth // by the user that the helper works as
	users  int               // who must not lose it now
	idle   int64             // since which use of the fleet
	open   bool              // connected, or about to be
	going  chan struct{}     // not nil while it is being left, closed when that is over
	away   map[string]way    // to helpers that were left, and whose host is locked for the run
	// armed are identities whose work waits to be confirmed, whether their helper lives or not: the host has to go on hearing of the run.
	armed map[store.Identity]bool
	left  time.Time
}

// enter keeps the stay that a way leads to until leave.
func (f *fleet) enter(w way) *stay {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stays[w.connKey()]
	if s == nil {
		s = &stay{berths: map[string]*berth{}, away: map[string]way{}, armed: map[store.Identity]bool{}}
		f.stays[w.connKey()] = s
	}
	s.users++
	for s.going != nil {
		going := s.going
		f.mu.Unlock()
		<-going
		f.mu.Lock()
	}
	return s
}

func (f *fleet) leave(s *stay) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.uses++
	s.users, s.idle = s.users-1, f.uses
}

// heed notes whether what a helper did is in a journal, and whether it waits to be confirmed.
func (f *fleet) heed(s *stay, w way, c *remote.Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.Kept() && !f.kept[w.identity()] {
		f.kept[w.identity()] = true
		if f.altered != nil {
			f.altered(w.identity())
		}
	}
	if c.Armed() {
		s.armed[w.identity()] = true
	} else {
		delete(s.armed, w.identity())
	}
}

// look shows the helper for a way, if there is one, dead or alive.
func (f *fleet) look(w way, at func(*remote.Client)) {
	s := f.enter(w)
	defer f.leave(s)
	b := f.berth(s, w)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.made {
		at(b.it)
		f.heed(s, w, b.it)
	}
}

// berth is the place of the helper for a way.
func (f *fleet) berth(s *stay, w way) *berth {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := s.berths[w.becomeName()]
	if b == nil {
		b = &berth{w: w}
		s.berths[w.becomeName()] = b
	}
	return b
}

// vacate forgets a helper that is gone. The berth is locked.
func (f *fleet) vacate(b *berth) {
	if !b.made {
		return
	}
	b.it.Abandon() // the host stays ours
	f.mu.Lock()
	f.gone.Add(b.it.Stats())
	f.mu.Unlock()
	b.it, b.on, b.made = nil, nil, false
}

// drop closes a link that was lost, unless there is another one by now.
func (s *stay) drop(lost conn.Conn) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if s.link.it == lost {
		s.unlink()
	}
}

// unlink closes the link, which is locked.
func (s *stay) unlink() {
	if s.link.made {
		_ = s.link.it.Close() // it is lost, or nothing is running on it
		s.link.it, s.link.made = nil, false
	}
}

// admit makes room for a host that is about to be connected. When it returns, who has to go is gone.
func (f *fleet) admit(s *stay) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.open = true
	for {
		idlest, open := f.idlest()
		if open <= f.most || idlest == nil {
			return
		}
		f.rest(idlest)
	}
}

// idlest is the stay that nobody has needed for longest, nil for none; open is how many there are. f.mu is held.
func (f *fleet) idlest() (idlest *stay, open int) {
	for _, s := range f.stays {
		if !s.open {
			continue
		}
		open++
		if s.free() && (idlest == nil || s.idle < idlest.idle) {
			idlest = s
		}
	}
	return idlest, open
}

// free tells whether a stay may be left; the fleet's mu is held.
func (s *stay) free() bool { return s.idles() && len(s.armed) == 0 }

// idles tells that nobody works there; the fleet's mu is held.
func (s *stay) idles() bool { return s.users == 0 && s.going == nil }

// rest leaves a host, which stays locked for the run. The stay is free, and f.mu is held, but for the time that this takes.
func (f *fleet) rest(s *stay) {
	s.going = make(chan struct{})
	f.mu.Unlock()
	away := f.depart(s)
	f.mu.Lock()
	maps.Copy(s.away, away)
	close(s.going)
	s.going, s.open, s.left = nil, false, time.Now()
	if len(s.away) > 0 {
		f.keeping.Do(f.keep)
	}
}

// depart ends the helpers of a stay and its link, which nobody else looks at now, and says who will be missed.
func (f *fleet) depart(s *stay) (away map[string]way) {
	away = map[string]way{}
	for name, b := range s.berths {
		if f.quit(b) {
			away[name] = b.w
		}
	}
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	s.unlink()
	return away
}

// quit ends a helper, and tells whether its host is kept.
func (f *fleet) quit(b *berth) (kept bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept = b.made && b.ours && alive(b.it)
	if kept {
		b.it.Leave()
	}
	f.vacate(b)
	return kept
}

// back says that the helper for a way is there again.
func (f *fleet) back(s *stay, w way) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(s.away, w.becomeName())
}

// reset leaves a host, so that the next use connects anew, unless somebody works there. One that waits to be confirmed is connected to at once.
func (f *fleet) reset(ctx context.Context, w way) {
	waiting := f.awaiting(w.Host)
	f.mu.Lock()
	if s := f.stays[w.connKey()]; s != nil && s.idles() {
		f.rest(s)
	}
	f.mu.Unlock()
	for _, w := range waiting {
		if _, done, err := f.again(ctx, w); err == nil { // else it fails at its next task, or is not confirmed
			done()
		}
	}
}

// keep starts the keeper, who sees to it that no lock of a host expires because nobody is there. f.mu is held.
func (f *fleet) keep() {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	f.keeper.Go(func() {
		tick := time.NewTicker(visitEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				f.lookIn(ctx, now.Add(-visitAfter))
			}
		}
	})
}

// lookIn has hosts that were left before a time hear of their controller. What is wrong with one that does not answer is told when it is needed.
func (f *fleet) lookIn(ctx context.Context, before time.Time) {
	f.visit(before, func(w way) {
		if _, done, err := f.of(ctx, w); err == nil {
			done()
		}
	})
}

// visit does something for many of the helpers at a time that were left before a time.
func (f *fleet) visit(before time.Time, do func(way)) {
	var g errgroup.Group
	g.SetLimit(cap(f.guests))
	for _, w := range f.leftBefore(before) {
		g.Go(func() error { do(w); return nil })
	}
	_ = g.Wait() // nobody gives one
}

func (f *fleet) leftBefore(t time.Time) []way {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ways []way
	for _, s := range f.stays {
		if s.left.Before(t) {
			ways = slices.AppendSeq(ways, maps.Values(s.away))
		}
	}
	return ways
}

// all are the berths that there are, and the stays.
func (f *fleet) all() (berths []*berth, stays []*stay) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.stays {
		stays = append(stays, s)
		berths = slices.AppendSeq(berths, maps.Values(s.berths))
	}
	return berths, stays
}

// stats adds up what crossed the wire to every host.
func (f *fleet) stats() remote.Stats {
	var total remote.Stats
	berths, _ := f.all()
	for _, b := range berths {
		b.mu.Lock()
		if b.made {
			total.Add(b.it.Stats())
		}
		b.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	total.Add(f.gone)
	return total
}

// close gives every host back and ends every connection.
func (f *fleet) close() {
	f.mu.Lock()
	stop := f.stop
	f.mu.Unlock()
	stop()
	f.keeper.Wait()
	f.log = func(string, string) {} // who listens has been told of the end
	berths, _ := f.all()
	var wg sync.WaitGroup
	for _, b := range berths {
		wg.Go(func() { f.farewell(b) })
	}
	wg.Wait()
	f.visit(time.Now(), func(w way) {
		if c, done, err := f.of(context.Background(), w); err == nil { // else the lock expires
			_ = c.Close()
			done()
		}
	})
	_, stays := f.all()
	for _, s := range stays {
		s.link.mu.Lock()
		s.unlink()
		s.link.mu.Unlock()
	}
}

func (f *fleet) farewell(b *berth) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.made {
		_ = b.it.Close() // one that is lost cannot say farewell
	}
}
