package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/runner/store/etcd"
)

// Shared is the state that this bastion has in common with others.
type Shared struct {
	State *etcd.State
	Dir   string // of the run store: its runs are shared
	// Cluster is the name of what is locked as a whole, besides the hosts. Without it that is what the hosts' variable calroll_cluster says.
	Cluster string
	Wait    time.Duration // how long to wait for who has the hosts
}

const clusterVar = "calroll_cluster"

// right is the right of a run to its hosts, towards other bastions. Without a shared state everything is allowed.
type right struct {
	o      Options
	lease  *etcd.Lease
	mirror *etcd.Mirror
	cancel context.CancelCauseFunc
}

// takeRight takes hosts for a run; known says that it was begun before, maybe by another bastion. The context that it returns ends when they are lost.
func takeRight(ctx context.Context, o Options, run string, known bool, hosts []string) (*right, context.Context, error) {
	g := &right{o: o}
	if o.Shared == nil {
		return g, ctx, nil
	}
	claim := etcd.Claim{Holder: newHolder(run), Hosts: hosts}
	var err error
	if claim.Clusters, err = clusters(o, hosts); err != nil {
		return nil, nil, err
	}
	if g.lease, err = o.Shared.State.Lock(ctx, claim, o.Shared.Wait); err != nil {
		return nil, nil, err
	}
	if known { // until now another bastion may have gone on with it
		err = o.Shared.fetch(ctx, run)
	}
	if err == nil {
		g.mirror, err = o.Shared.State.Mirror(ctx, o.Shared.Dir, run, g.lease)
	}
	if err != nil {
		_ = g.lease.Release(ctx) // or it expires
		return nil, nil, err
	}
	ctx, g.cancel = context.WithCancelCause(ctx)
	return g, leased{ctx, g.lease}, nil
}

// fetch brings what other bastions have recorded of a run.
func (s *Shared) fetch(ctx context.Context, run string) error {
	if _, err := s.State.Fetch(ctx, s.Dir); err != nil {
		return err
	}
	_, err := s.State.FetchRun(ctx, s.Dir, run)
	return err
}

// leased is a context that ends with a lease, and is known to have ended before anybody was told: a bastion may have slept.
type leased struct {
	context.Context
	lease *etcd.Lease
}

// Err implements context.Context.
func (l leased) Err() error {
	if err := l.Context.Err(); err != nil || l.lease.Err() == nil {
		return err
	}
	return context.Canceled
}

// clusters are what the hosts say they belong to, unless the user does.
func clusters(o Options, hosts []string) ([]string, error) {
	if o.Shared.Cluster != "" {
		return []string{o.Shared.Cluster}, nil
	}
	var names []string
	world := newWorld(o)
	for _, h := range hosts {
		v, ok, err := world.Host(h).Scope().Lookup(clusterVar)
		if err != nil {
			return nil, fmt.Errorf("cannot tell the cluster of %s: %w", h, err)
		}
		if ok && v != nil && expr.String(v) != "" {
			names = append(names, expr.String(v))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// claimedHosts are those that playbooks may work on. A pattern that is known only later stands for all hosts.
func claimedHosts(o Options, books []*playbooks.Playbook) []string {
	var names []string
	add := func(pattern string) error {
		hosts, err := o.Inventory.Match(pattern, o.limits()...)
		for _, h := range hosts {
			names = append(names, h.Name)
		}
		return err
	}
	for _, b := range books {
		for _, p := range b.Plays {
			pattern, known := constantPattern(p)
			if !known || add(pattern) != nil {
				_ = add("all") // the limit was looked at before
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func constantPattern(p *playbooks.Play) (pattern string, known bool) {
	var patterns []string
	for _, h := range p.Hosts {
		s, ok := h.Constant()
		if !ok {
			return "", false
		}
		patterns = append(patterns, s)
	}
	return strings.Join(patterns, ","), true
}

// give shows hosts the right, and others what is recorded: whatever a host is used for, other bastions know before.
func (g *right) give(ctx context.Context, r *run) {
	if g.lease == nil {
		return
	}
	r.right, r.fleet.lease = g, g.lease.For
	record := r.fleet.used
	r.fleet.used = func(w store.Worked) error {
		if err := record(w); err != nil {
			return err
		}
		return g.mirror.Share(ctx)
	}
	go func() {
		select {
		case <-g.lease.Lost():
			r.emit(event.Event{Kind: event.Warning, Message: fmt.Sprintf("%v: stopping when the tasks in hand are done; nothing more is begun", g.err())})
			g.cancel(g.err())
		case <-ctx.Done():
		}
	}()
}

// err says why the right is over; nil while it is not.
func (g *right) err() error {
	if g == nil || g.lease == nil {
		return nil
	}
	return g.lease.Err()
}

// release gives the hosts to others, after they have what was recorded.
func (g *right) release(ctx context.Context) {
	if g.lease == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	g.cancel(nil)
	if err := g.mirror.Close(ctx); err != nil {
		g.o.Sink.Emit(event.Event{Kind: event.Warning, Message: err.Error(), Time: time.Now()})
	}
	if err := g.lease.Release(ctx); err != nil {
		g.o.Sink.Emit(event.Event{Kind: event.Warning, Message: fmt.Sprintf("cannot end the lock in etcd, which expires: %v", err), Time: time.Now()})
	}
}

// limited are the hosts of an inventory that a limit leaves, in its order.
func limited(o Options) ([]*inventory.Host, error) {
	if o.Limit == "" {
		return o.Inventory.Match("all")
	}
	hosts, err := o.Inventory.Match(o.Limit)
	if err != nil {
		return nil, fmt.Errorf("cannot use --limit %s: %w", o.Limit, err)
	}
	return hosts, nil
}
