package runner

import (
	"context"
	"slices"
	"sync"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/runner/store/etcd"
	"github.com/calroll/calroll/tasks/journal"
)

// HostLock is how things stand with the lock of one identity on a host.
type HostLock struct {
	Host string            `json:"host"`
	As   string            `json:"as,omitempty"` // "sudo:root"; empty for the login user
	Lock journal.LockState `json:"lock"`
	Open []journal.Run     `json:"open,omitempty"`  // runs that are neither committed nor undone
	Err  string            `json:"error,omitempty"` // why it is not known
}

// Locks looks at the locks of hosts, and opens them.
type Locks struct {
	r    *run
	ways []way
}

// OpenLocks makes ready to look at the hosts of the inventory that the limit leaves: as the user who logs in, or whom the flags and the hosts'
// variables say, and as all who have worked there in runs that are known here. o needs Inventory, Env, Login and Carried.
func OpenLocks(o Options, runs []store.Meta) (*Locks, error) {
	hosts, err := limited(o)
	if err != nil {
		return nil, err
	}
	o.Store, o.Sink = nil, event.Sinks{}
	r, err := begin(o, "")
	if err != nil {
		return nil, err
	}
	l := &Locks{r: r}
	for _, h := range hosts {
		if err := l.addWays(h, runs); err != nil {
			r.fleet.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *Locks) addWays(h *inventory.Host, runs []store.Meta) error {
	scope := l.r.world.Host(h.Name).Scope()
	own, err := l.r.wayTo(h.Name, &playbooks.Keywords{}, scope, scope)
	if err != nil {
		return err
	}
	known := []store.Identity{own.identity()}
	l.ways = append(l.ways, own)
	for _, m := range runs {
		for _, id := range m.Identities {
			if id.Host != h.Name {
				continue
			}
			w, err := l.r.storedWay(id)
			if err != nil {
				return err
			}
			if !slices.Contains(known, w.identity()) {
				known, l.ways = append(known, w.identity()), append(l.ways, w)
			}
		}
	}
	return nil
}

// Close ends the connections.
func (l *Locks) Close() { l.r.fleet.close() }

// Look is how things stand, in the order of the inventory.
func (l *Locks) Look(ctx context.Context) []HostLock {
	return l.each(l.ways, func(w way, h *HostLock) error {
		c, done, err := l.r.fleet.again(ctx, w)
		if err != nil {
			return err
		}
		defer done()
		if h.Lock, err = c.Lock(ctx); err == nil {
			h.Open, err = openRuns(ctx, c)
		}
		return err
	})
}

func openRuns(ctx context.Context, c *remote.Client) ([]journal.Run, error) {
	runs, err := c.Runs(ctx)
	return slices.DeleteFunc(runs, func(r journal.Run) bool { return !r.Open() }), err
}

// Unlock takes these locks from their holders, who are refused from then on.
func (l *Locks) Unlock(ctx context.Context, locks []HostLock, force bool) []HostLock {
	var ways []way
	for _, w := range l.ways {
		if slices.ContainsFunc(locks, func(h HostLock) bool { return h.Host == w.Host && h.As == w.becomeName() }) {
			ways = append(ways, w)
		}
	}
	return l.each(ways, func(w way, h *HostLock) error {
		c, done, err := l.r.fleet.again(ctx, w)
		if err != nil {
			return err
		}
		defer done()
		h.Lock, err = c.Unlock(ctx, force)
		return err
	})
}

// each does something for many ways at a time.
func (l *Locks) each(ways []way, do func(way, *HostLock) error) []HostLock {
	all := make([]HostLock, len(ways))
	places := make(chan struct{}, max(l.r.o.Forks, 1))
	var wg sync.WaitGroup
	for i, w := range ways {
		all[i] = HostLock{Host: w.Host, As: w.becomeName()}
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if err := do(w, &all[i]); err != nil {
				all[i].Err = err.Error()
			}
		})
	}
	wg.Wait()
	return all
}

// Claims are the locks in etcd that cover a host that the limit leaves, or a cluster of one.
func Claims(ctx context.Context, o Options) ([]etcd.Lock, error) {
	if o.Shared == nil {
		return nil, nil
	}
	hosts, err := limited(o)
	if err != nil {
		return nil, err
	}
	var mine etcd.Claim
	for _, h := range hosts {
		mine.Hosts = append(mine.Hosts, h.Name)
	}
	if mine.Clusters, err = clusters(o, mine.Hosts); err != nil {
		return nil, err
	}
	locks, err := o.Shared.State.Locks(ctx)
	return slices.DeleteFunc(locks, func(l etcd.Lock) bool { return !l.Overlaps(mine) }), err
}
