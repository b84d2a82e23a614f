package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/store"
)

// RollbackOptions are what Rollback takes back.
type RollbackOptions struct {
	Run     store.Meta
	History *History // what its events tell; nil when nobody here has seen it
	Limit   string
	To      int64 // the last task that stays; 0 takes everything back
	Serial  int   // the most hosts that go back at a time; 0 is as many as went forward together
	Force   bool
	Preview bool // take nothing back, and tell what would be
	// Ask is the id, or the start or the end of one, of a run that the store does not know: the hosts of the inventory are asked for it, and Run
	// is filled from what they keep.
	Ask string
}

// Rollback takes a stored run back on every host it worked on: in waves, the newest first. o needs Inventory, Loader, Env, Login, Carried and the
// sinks; the hosts' own journals say what is there to be undone.
func Rollback(ctx context.Context, o Options, rb RollbackOptions) (Summary, error) {
	if rb.History == nil {
		rb.History = &History{}
	}
	o.Store = nil
	r, err := begin(o)
	if err != nil {
		return Summary{Exit: ExitError}, err
	}
	defer r.fleet.close()
	r.fleet.run = ""
	if rb.Ask != "" {
		if rb.Run, err = r.ask(ctx, rb.Ask, rb.Limit); err != nil {
			return r.end(err)
		}
		rb.Limit = "" // only those hosts were asked
	}
	hosts, err := rollbackHosts(o.Inventory, rb)
	if err != nil {
		return r.end(err)
	}
	r.id = rb.Run.ID
	if err := r.worked(rb.Run.Identities, hosts); err != nil {
		return r.end(err)
	}
	b := &back{run: r, RollbackOptions: rb, hosts: map[string]*hostBack{}}
	b.all(ctx, hosts)
	s, err := r.end(nil)
	s.Hosts = hosts
	return s, err
}

// rollbackHosts are the hosts of a run, as far as the limit goes.
func rollbackHosts(inv *inventory.Inventory, rb RollbackOptions) ([]string, error) {
	allowed := map[string]bool{}
	if rb.Limit != "" {
		hosts, err := inv.Match(rb.Limit)
		if err != nil {
			return nil, fmt.Errorf("cannot use --limit %s: %w", rb.Limit, err)
		}
		for _, h := range hosts {
			allowed[h.Name] = true
		}
	}
	var names, missing []string
	for _, id := range rb.Run.Identities {
		switch {
		case slices.Contains(names, id.Host) || rb.Limit != "" && !allowed[id.Host]:
		case inv.Host(id.Host) == nil:
			missing = append(missing, id.Host)
		default:
			names = append(names, id.Host)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("cannot take run %s back: the inventory does not know %s any more", rb.Run.ID, strings.Join(missing, ", "))
	}
	return inOrder(inv, names)
}

// inOrder sorts hosts as the inventory has them: the store has them as they happened to answer.
func inOrder(inv *inventory.Inventory, names []string) ([]string, error) {
	all, err := inv.Match("all")
	if err != nil {
		return nil, err
	}
	place := map[string]int{} // an implicit localhost has none: it comes first
	for i, h := range all {
		place[h.Name] = i + 1
	}
	slices.SortFunc(names, func(a, b string) int { return place[a] - place[b] })
	return names, nil
}

// worked tells the fleet as whom a stored run worked on hosts. The error names every host that cannot be reached any more as the
// inventory and the command line have it now, sorted.
func (r *run) worked(ids []store.Identity, hosts []string) error {
	problems := &multierror.Error{ErrorFormat: perHost}
	for _, id := range ids {
		if !slices.Contains(hosts, id.Host) {
			continue
		}
		w, err := r.storedWay(id)
		if err != nil {
			problems = multierror.Append(problems, fmt.Errorf("%s: %w", id.Host, err))
			continue
		}
		r.fleet.remember(id, w)
	}
	return problems.ErrorOrNil()
}

// perHost lists the problems of hosts, a line each, sorted by host.
func perHost(errs []error) string {
	lines := make([]string, len(errs))
	for i, err := range errs {
		lines[i] = err.Error()
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// storedWay is the way of a stored identity: the host's variables of today, and the user of then.
func (r *run) storedWay(id store.Identity) (way, error) {
	scope := r.world.Host(id.Host).Scope()
	w, err := r.wayTo(id.Host, &playbooks.Keywords{}, scope, scope)
	if err != nil {
		return w, err
	}
	if id.Become == clusterIdentity {
		w.cluster = true
		return w, nil
	}
	return r.storedBecome(w, id, scope)
}

func (r *run) storedBecome(w way, id store.Identity, scope *vars.Scope) (way, error) {
	method, name, ok := strings.Cut(id.Become, ":")
	if !ok {
		w.Become = nil
		return w, nil
	}
	b, err := r.become(&playbooks.Keywords{Become: playbooks.Const(true, source.Pos{})}, scope, scope)
	if err != nil || b == nil {
		return w, err
	}
	b.Method, b.User = method, name
	w.Become = b
	return w, nil
}
