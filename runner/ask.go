package runner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
)

// asked is what hosts said of a run that the store here does not know.
type asked struct {
	id string

	mu  sync.Mutex             // guards what follows
	as  map[string]*store.Meta // the runs that id may mean, with the identities whose journals keep them
	not map[string]error       // hosts that could not be asked, or not as the user that tasks become there
}

// ask finds a run by the journals that hosts keep, as every identity that tasks may have worked as there: the login user, and the user that the
// inventory and the command line say to become, else root.
func (r *run) ask(ctx context.Context, id string, hosts []string) (store.Meta, error) {
	a := &asked{id: id, as: map[string]*store.Meta{}, not: map[string]error{}}
	r.onEach(hosts, func(h string) {
		if err := r.askHost(ctx, a, h); err != nil {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.not[h] = err
		}
	})
	for _, h := range slices.Sorted(maps.Keys(a.not)) {
		r.emit(event.Event{Kind: event.Warning, Host: h, Message: fmt.Sprintf("cannot ask %s for the run: %v", h, a.not[h])})
	}
	return r.answered(a, hosts)
}

// askHost asks the login user's journal, and that of the user whom tasks become.
func (r *run) askHost(ctx context.Context, a *asked, host string) error {
	scope := r.world.Host(host).Scope()
	w, err := r.wayTo(host, &playbooks.Keywords{}, scope, scope)
	if err != nil {
		return err
	}
	wanted, sure := w.Become, w.Become != nil
	if w.Become = nil; wanted == nil {
		if wanted, err = r.become(&playbooks.Keywords{Become: playbooks.Const(true, source.Pos{})}, scope, scope); err != nil {
			return err
		}
	}
	root, err := r.askAs(ctx, a, w)
	if err != nil || root || wanted == nil {
		return err
	}
	w.Become = wanted
	if _, err = r.askAs(ctx, a, w); err != nil && !sure {
		r.emit(event.Event{Kind: event.Warning, Host: host, Message: fmt.Sprintf("cannot ask %s as %s, whom nobody said that tasks become: %v", host, wanted.User, err)})
		return nil
	}
	return err
}

// askAs asks one journal; root tells that it is root's.
func (r *run) askAs(ctx context.Context, a *asked, w way) (root bool, err error) {
	c, done, err := r.fleet.client(ctx, w)
	if err != nil {
		return false, err
	}
	defer done()
	runs, err := c.Runs(ctx)
	if err != nil {
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, run := range runs {
		if run.ID != a.id && !strings.HasPrefix(run.ID, a.id) && !strings.HasSuffix(run.ID, a.id) {
			continue
		}
		if a.as[run.ID] == nil {
			a.as[run.ID] = &store.Meta{ID: run.ID, User: run.Holder.User, Bastion: run.Holder.Bastion, Process: store.Process{PID: run.Holder.PID}, Started: run.Began}
		}
		a.as[run.ID].Identities = append(a.as[run.ID].Identities, altered(w))
	}
	return c.Hello().UID == 0, nil
}

// altered is an identity that has a journal of the run.
func altered(w way) store.Worked {
	known := w.worked()
	known.Altered = true
	return known
}

// answered is the one run that was meant.
func (r *run) answered(a *asked, hosts []string) (store.Meta, error) {
	found := slices.Sorted(maps.Keys(a.as))
	if slices.Contains(found, a.id) {
		found = []string{a.id}
	}
	switch len(found) {
	case 0:
		r.lost = len(a.not) > 0
		return store.Meta{}, fmt.Errorf("cannot find run %q: neither the run store here nor any of %d hosts that were asked knows it", a.id, len(hosts)-len(a.not))
	case 1:
	default:
		return store.Meta{}, fmt.Errorf("cannot tell which run %q is: hosts know %s", a.id, strings.Join(found, ", "))
	}
	m := *a.as[found[0]]
	for h, err := range a.not {
		r.open[h] = event.Unreachable
		r.failed = r.failed || err != nil
	}
	r.emit(event.Event{Kind: event.Warning, Message: fmt.Sprintf("run %s was made by %s from %s: the order of its batches is known there, and so is "+
		"what it did in clusters, which is not taken back from here", m.ID, m.User, m.Bastion)})
	return m, nil
}
