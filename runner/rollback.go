package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	Course  *Course // what its events tell; nil when nobody here has seen it
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
// sinks, and the Store where the run is, in which is recorded what came of it. The hosts' own journals say what is there to be undone.
func Rollback(ctx context.Context, o Options, rb RollbackOptions) (s Summary, err error) {
	if rb.Course == nil {
		rb.Course = &Course{}
	}
	hosts, err := rb.toAsk(o.Inventory)
	if err != nil {
		return Summary{Exit: ExitError}, err
	}
	recorded := o.Store
	if rb.Ask != "" || rb.Preview {
		recorded = nil
	}
	right, ctx, err := takeRight(ctx, o, cmp.Or(rb.Run.ID, rb.Ask), rb.Ask == "", hosts)
	if err != nil {
		return Summary{Exit: ExitError}, err
	}
	defer right.release(ctx)
	if hosts, err = rb.renew(o, hosts); err != nil {
		return Summary{Exit: ExitError}, err
	}
	o.Store = nil
	r, err := begin(o, rb.Run.ID)
	if err != nil {
		return Summary{Exit: ExitError}, err
	}
	defer r.fleet.close()
	done, err := r.alsoRecorded(recorded, rb.Run.ID)
	if err != nil {
		return Summary{Exit: ExitError}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	right.give(ctx, r)
	r.fleet.run = "" // looking takes no host
	if rb.Ask != "" {
		if rb.Run, err = r.ask(ctx, rb.Ask, hosts); err != nil {
			return r.end(err)
		}
		rb.Limit = "" // only those hosts were asked
		if hosts, err = rollbackHosts(o.Inventory, rb); err != nil {
			return r.end(err)
		}
	}
	r.id = rb.Run.ID
	if !rb.Preview {
		r.fleet.run, r.fleet.holder.Run = r.id, r.id
	}
	if err := r.worked(rb.Run.Identities, hosts); err != nil {
		return r.end(err)
	}
	b := &back{run: r, RollbackOptions: rb, hosts: map[string]*hostBack{}}
	if err := b.begins(recorded, hosts); err != nil {
		return r.end(err)
	}
	b.all(ctx, hosts)
	s, err = r.end(nil)
	return s, errors.Join(err, b.came(recorded, hosts, s.Open))
}

// renew reads the run again once its hosts are ours: another bastion may have gone on with it while this one waited for them.
func (rb *RollbackOptions) renew(o Options, claimed []string) ([]string, error) {
	if rb.Ask != "" || o.Shared == nil || o.Store == nil {
		return claimed, nil
	}
	var err error
	if rb.Run, err = o.Store.Load(rb.Run.ID); err != nil {
		return nil, err
	}
	rb.Course = &Course{}
	if err := o.Store.Events(rb.Run.ID, rb.Course); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	hosts, err := rollbackHosts(o.Inventory, *rb)
	if err == nil && slices.ContainsFunc(hosts, func(h string) bool { return !slices.Contains(claimed, h) }) {
		err = fmt.Errorf("cannot take run %s back: another bastion has gone on with it meanwhile, on further hosts; type it again", rb.Run.ID)
	}
	return hosts, err
}

// begins records that hosts are taken back from here on.
func (b *back) begins(s *store.Store, hosts []string) error {
	if len(hosts) == 0 {
		return nil
	}
	return b.noteIn(s, store.Line{Undoing: hosts})
}

// noteIn records with the run what becomes of hosts, so that a resume knows it.
func (b *back) noteIn(s *store.Store, l store.Line) error {
	if l.Since = b.To + 1; s == nil {
		return nil
	}
	return s.Note(b.Run.ID, l)
}

// came records what came of it: on which hosts it is over, and on which it could not begin. On the rest a resume has to end it first.
func (b *back) came(s *store.Store, hosts, open []string) error {
	if s == nil || len(hosts) == 0 {
		return nil
	}
	var l store.Line
	for _, h := range hosts {
		switch was := b.hosts[h]; {
		case !was.broken:
			l.Undone = append(l.Undone, h)
		case !was.begun:
			l.Spared = append(l.Spared, h)
		}
	}
	err := b.noteIn(s, l)
	if b.To == 0 {
		err = errors.Join(err, s.TookBack(b.Run.ID, hosts, open, b.Limit == ""))
	}
	return err
}

// toAsk are the hosts that a rollback goes to, or asks for the run first.
func (rb RollbackOptions) toAsk(inv *inventory.Inventory) ([]string, error) {
	if rb.Ask == "" {
		return rollbackHosts(inv, rb)
	}
	var limits []string
	if rb.Limit != "" {
		limits = append(limits, rb.Limit)
	}
	found, err := inv.Match("all", limits...)
	if err != nil {
		return nil, fmt.Errorf("cannot use --limit %s: %w", rb.Limit, err)
	}
	return namesOf(found), nil
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
	if len(names)+len(missing) == 0 && rb.Limit != "" && len(rb.Run.Identities) > 0 {
		return nil, fmt.Errorf("cannot take run %s back: --limit %s leaves none of its hosts (%s)", rb.Run.ID, rb.Limit, strings.Join(rb.Run.Hosts(), ", "))
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
func (r *run) worked(ids []store.Worked, hosts []string) error {
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
		r.fleet.remember(w, id.Altered)
	}
	return problems.ErrorOrNil()
}

// workedBefore tells the fleet as whom the run has worked so far, as far as its hosts are still known: an undo may have to go there.
func (r *run) workedBefore(ids []store.Worked) {
	for _, id := range ids {
		if r.o.Inventory.Host(id.Host) == nil {
			continue
		}
		if w, err := r.storedWay(id); err == nil { // else the task that needs the host tells
			r.fleet.remember(w, id.Altered)
		}
	}
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

// storedWay is the way of a stored identity: the host's variables of today, and else what the play said then; and the user whom it became.
func (r *run) storedWay(id store.Worked) (way, error) {
	scope := r.world.Host(id.Host).Scope()
	k := &playbooks.Keywords{}
	if id.Connection != "" {
		k.Connection = playbooks.Const(id.Connection, source.Pos{})
	}
	if id.Login != "" {
		k.RemoteUser = playbooks.Const(id.Login, source.Pos{})
	}
	w, err := r.wayTo(id.Host, k, scope, scope)
	if err != nil {
		return w, err
	}
	if id.Become == store.Controller {
		w.cluster = true
		return w, nil
	}
	return r.storedBecome(w, id.Identity, scope)
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
