package runner

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

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
	// back, if set, waits for hosts that go back by themselves.
	back *returning
	// preview takes nothing back and tells what would be.
	preview  bool
	patience *patience // with hosts that were lost; nil has none
	lane     int       // of the play that undoes, when several go at the same time
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

// inPlace are, by host, those that have done something in the place of it.
func (r *run) inPlace(hosts []string) map[string][]string {
	all := map[string][]string{}
	for _, h := range hosts {
		if by := r.inPlaceOf([]string{h}); len(by) > 0 {
			all[h] = by
		}
	}
	return all
}

// undoAll takes hosts back, and then what others have done in their place. On those in back that is over; those that are spared stand where they
// stood; on the rest it was begun and broke off.
func (r *run) undoAll(ctx context.Context, hosts []string, u undoing) (back, spared []string, whole bool) {
	untouched, broken, own := r.undoHosts(ctx, hosts, u)
	u.back = nil // what was done in their place goes back by no host itself
	left, half, others := r.undoHosts(ctx, r.inPlaceOf(hosts), u)
	open := slices.Concat(untouched, broken, left, half)
	inPlace := r.inPlace(hosts)
	for _, h := range hosts {
		switch {
		case slices.Contains(untouched, h) && inPlace[h] == nil:
			spared = append(spared, h)
		case !slices.ContainsFunc(append(inPlace[h], h), func(by string) bool { return slices.Contains(open, by) }):
			back = append(back, h)
		}
	}
	return back, spared, own && others
}

// undoHosts takes hosts back, many at a time, and tells what came of it; whole means that every one is as it was, untouched are those that stand where
// they stood because nobody could get there, or begin, and on broken ones it was begun and broke off.
func (r *run) undoHosts(ctx context.Context, hosts []string, u undoing) (untouched, broken []string, whole bool) {
	var mu sync.Mutex
	whole = true
	r.onEach(hosts, func(h string) {
		t, ok := r.undoHost(ctx, h, u)
		mu.Lock()
		defer mu.Unlock()
		whole = whole && ok
		switch {
		case !t.begun:
			untouched = append(untouched, h)
		case t.err() != nil:
			broken = append(broken, h)
		}
	})
	return untouched, broken, whole
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
func (r *run) undoHost(ctx context.Context, host string, u undoing) (t *taken, whole bool) {
	ways := r.fleet.ways(host)
	t = &taken{begun: len(ways) == 0}
	if r.holdUp(ctx, ways, &u, t, ways) {
		r.takeBack(ctx, ways, u, t)
	}
	return t, r.tell(host, t, u)
}

// takeBack undoes what was done by ways, all of one host: the controller's own work on its behalf first, then the states of every user, and only then
// their refreshes.
func (r *run) takeBack(ctx context.Context, ways []way, u undoing, t *taken) {
	own := slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return w.cluster })
	for _, w := range ways {
		if w.cluster {
			r.undoAs(ctx, w, u, remote.UndoOptions{}, t)
		}
	}
	if len(own) < 2 || u.preview {
		for _, w := range own {
			r.undoAs(ctx, w, u, remote.UndoOptions{}, t)
		}
		return
	}
	for _, w := range own {
		r.undoAs(ctx, w, u, remote.UndoOptions{Hold: true}, t)
	}
	for _, w := range own {
		r.undoAs(ctx, w, u, remote.UndoOptions{Fire: t.restored() > 0}, t)
	}
}

// tell reports what came back on a host and whether it is as it was. Nothing is said of a host that has only worked for others and altered nothing.
func (r *run) tell(host string, t *taken, u undoing) bool {
	e := event.Event{Kind: event.UndoHost, Lane: u.lane, Host: host}
	e.Status, e.Message = t.summary(host, u)
	whole := e.Status == event.OK || e.Status == event.Changed
	if u.of != nil && !slices.Contains(u.of, host) {
		if e.Status == event.OK {
			return true
		}
		e.Message += ", done for " + strings.Join(u.of, ", ")
	}
	r.emit(e)
	if u.preview {
		return whole
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts[host] == nil {
		r.counts[host] = &event.Counts{}
	}
	r.counts[host].Undone += t.restored()
	if !whole {
		r.open[host] = e.Status
		r.lost = r.lost || e.Status == event.Unreachable
	}
	return whole
}

// holdUp has u stop at the last point of no return of a host that has been passed. It is false when a way of the host cannot be asked for one: then nothing
// goes back of what was to, which t is told.
func (r *run) holdUp(ctx context.Context, host []way, u *undoing, t *taken, what []way) bool {
	last, err := r.heldUpAt(ctx, host, *u)
	u.downTo = max(u.downTo, last)
	if err == nil {
		return true
	}
	for _, w := range what {
		t.add(w, journal.Report{}, err)
	}
	return false
}

// heldUpAt is the last task of the run that put down a point of no return which has been passed; 0 for none. Each identity has a journal of its
// own, and where there are several the others must stop there as well: so all have to be asked before anything of the host goes back.
func (r *run) heldUpAt(ctx context.Context, ways []way, u undoing) (last int64, err error) {
	if u.force || len(ways) < 2 {
		return 0, nil
	}
	for _, w := range ways {
		if r.neverWorked(w) {
			continue
		}
		err := r.patiently(ctx, w, u, func(c *remote.Client) error {
			defer r.hanging(w.Host, u.back)()
			report, err := c.Undo(ctx, u.run, r.fleet.holder, remote.UndoOptions{Guards: true, Preview: u.preview, For: u.owners(w.Host)})
			for _, i := range report.Items {
				last = max(last, i.Task)
			}
			return err
		})
		if err != nil {
			return last, notAsked(err)
		}
	}
	return last, nil
}

// neverWorked tells that the run has never come so far as to work as an identity, and so has put down nothing. An earlier process of it may have.
func (r *run) neverWorked(w way) bool {
	return r.record != nil && r.resumed == nil && !r.fleet.hasBegun(w)
}

// notAsked is the error of a host that cannot be asked for points of no return. Of one that does not answer there is no more to say.
func notAsked(err error) error {
	if isLost(err) {
		return err
	}
	return &tasks.Error{Kind: kindOf(err), Op: "ask for points of no return", Detail: "nothing goes back before that (--force does not ask)", Err: err}
}

// noJournal is the error of a host that has nothing of a run which is known to have altered it.
func noJournal(w way) error {
	user := cmp.Or(w.SSH.User, "the login user")
	if w.Become != nil {
		user = cmp.Or(w.Become.User, "root")
	}
	return &tasks.Error{Kind: tasks.Failed, Op: "take the run back", Detail: fmt.Sprintf("it has altered the host as %s, who has no journal of it there: "+
		"it is another machine or another user now, or the run is too old (--force leaves the host as it is, and counts it as taken back)", user)}
}

// undoAs undoes what one identity has done.
func (r *run) undoAs(ctx context.Context, w way, u undoing, o remote.UndoOptions, t *taken) {
	o.Force, o.DownTo, o.For, o.Preview = u.force, u.downTo, u.owners(w.Host), u.preview
	o.Each = func(journal.Item) { t.begun = true }
	err := r.patiently(ctx, w, u, func(c *remote.Client) error {
		defer r.hanging(w.Host, u.back)()
		report, err := c.Undo(ctx, u.run, r.fleet.holder, o)
		if err == nil && report.Unknown && r.fleet.hasJournal(w) && !u.force {
			err = noJournal(w)
		}
		t.begun = t.begun || err == nil || isLost(err)
		t.add(w, report, err)
		if err == nil && report.Disarmed {
			c.Confirmed()
			r.fleet.settled(w)
		}
		return err
	})
	t.add(w, journal.Report{}, err)
}
