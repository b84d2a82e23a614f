package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/machine"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// confirmTime is how long the play's hosts wait to be confirmed before they go back by themselves; 0 is for ever. In check mode there is nothing to go
// back from.
func (p *play) confirmTime() (time.Duration, error) {
	text, err := p.def.Confirm.Get(p.playRender, "")
	if err != nil || text == "" || p.o.Check {
		return 0, err
	}
	d, err := playbooks.ParseDuration(text)
	if err != nil {
		return 0, source.Errorf(p.def.Confirm.Pos, "cannot use \"confirm\": %w", err)
	}
	return d, nil
}

// toConfirm is what a task is told of that. What is done elsewhere in the host's place, by another host or by the controller, waits for nobody: the
// controller takes it back.
func (c *call) toConfirm(p *prepared) *remote.Confirm {
	if c.confirmed == 0 || p.way.Host != c.host.name || c.onController(p) {
		return nil
	}
	return &remote.Confirm{Within: c.confirmed, Since: c.since}
}

// confirm tells hosts that what they did stays, each over a connection that is made for that: those that are there work on when no other can be made. Who
// has altered nothing is not asked.
func (p *play) confirm(ctx context.Context, hosts []string) []machine.Output {
	var asked []string
	for _, h := range hosts {
		if !p.passed([]string{h}) && len(p.fleet.awaiting(h)) > 0 {
			asked = append(asked, h)
		}
	}
	if len(asked) > 0 {
		p.emit(event.Event{Kind: event.ConfirmStart, Hosts: asked})
	}
	ctx = context.WithoutCancel(ctx) // its batch is done
	var mu sync.Mutex
	came := map[string]machine.Outcome{}
	p.onEach(asked, func(h string) {
		o := p.confirmHost(ctx, h)
		mu.Lock()
		defer mu.Unlock()
		came[h] = o
		if o == machine.Unreachable {
			p.unheard = append(p.unheard, h)
		}
	})
	var outs []machine.Output
	var stay []string
	for _, h := range hosts {
		if came[h] == machine.OK {
			stay = append(stay, h)
		}
		outs = append(outs, p.machine.Step(machine.Confirmed{Host: h, Outcome: came[h]})...)
	}
	if len(stay) > 0 {
		p.note(store.Line{Play: p.index, Confirmed: stay})
	}
	return outs
}

// confirmHost confirms what every identity did on a host.
func (p *play) confirmHost(ctx context.Context, host string) machine.Outcome {
	ctx, cancel := context.WithTimeout(ctx, p.confirmed)
	defer cancel()
	err := p.fleet.confirm(ctx, p.fleet.awaiting(host))
	e := event.Event{Kind: event.ConfirmHost, Host: host, Status: event.OK, Message: "confirmed"}
	outcome := machine.OK
	switch {
	case err != nil && kindOf(err) == tasks.Unreachable:
		e.Status, outcome = event.Unreachable, machine.Unreachable
	case err != nil:
		e.Status, outcome = event.Failed, machine.Failed
	}
	if err != nil {
		e.Message = fmt.Sprintf("cannot confirm what was done there: %v", err)
		p.count(host, e.Status, false)
	}
	p.emit(e)
	return outcome
}

// awaiting are the ways of a host as which something was altered that waits to be confirmed. It does so as well where no helper is any more, and none can be
// had.
func (f *fleet) awaiting(host string) []way {
	return slices.DeleteFunc(f.ways(host), func(w way) bool { return !f.awaits(w) })
}

func (f *fleet) awaits(w way) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.stays { // a user may have been reached in several ways
		if s.armed[w.identity()] {
			return true
		}
	}
	return false
}

// settled notes that nothing waits to be confirmed any more that was done as the identity of a way.
func (f *fleet) settled(w way) {
	f.look(w, (*remote.Client).Confirmed)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.stays {
		delete(s.armed, w.identity())
	}
}

// confirm does so for all identities of one host over one new connection, and for none before each has a helper there.
func (f *fleet) confirm(ctx context.Context, ways []way) error {
	fresh := newFleet(Options{Carried: f.carried, Forks: 1}, "", func(store.Worked) error { return nil }, f.log)
	fresh.dialer = f.dialer // which has asked for passwords already
	defer fresh.close()
	clients := make([]*remote.Client, len(ways))
	for i, w := range ways {
		c, done, err := fresh.client(ctx, w)
		if err != nil {
			return err
		}
		defer done()
		clients[i] = c
	}
	for i, w := range ways {
		if err := clients[i].Confirm(ctx, f.run, f.holderFor(w)); err != nil {
			return err
		}
		f.settled(w)
	}
	return nil
}

// returnMargin is how much longer than it may wait to be confirmed a host is given to go back by itself: it has to undo things, and to be there again.
const returnMargin = time.Minute

// returnPoll is how often it is asked for meanwhile.
const returnPoll = time.Second

// returning waits for hosts that go back by themselves because nobody could confirm them. The zero value waits for nobody.
type returning struct {
	until time.Time // on the monotonic clock
	lost  []string  // hosts that could not be connected to anew, and may have a link that still works
	there bool      // only for those that are there, and at work on that
	said  sync.Map  // hosts of which it was said
}

// goesBack begins to wait.
func goesBack(within time.Duration) *returning {
	return &returning{until: time.Now().Add(within + returnMargin)}
}

// comesBack tells, after a while, whether a host that failed with err is to be tried again: it may be gone, or at work on going back.
func (r *run) comesBack(ctx context.Context, host string, back *returning, err error) bool {
	if err == nil || back == nil || time.Now().After(back.until) {
		return false
	}
	if kind := kindOf(err); kind != tasks.Refused && (kind != tasks.Unreachable || back.there) {
		return false
	}
	why, _, _ := strings.Cut(err.Error(), "\n")
	r.waitsFor(host, back, why)
	return action.Wait(ctx, returnPoll) == nil
}

// waitsFor says so, once.
func (r *run) waitsFor(host string, back *returning, why string) {
	if _, said := back.said.LoadOrStore(host, true); said {
		return
	}
	left := max(time.Until(back.until), 0).Round(time.Second)
	r.emit(event.Event{Kind: event.UndoWait, Host: host, Seconds: left.Seconds(), Message: fmt.Sprintf("up to %s for it to go back by itself (%s)", left, why)})
}

// hanging says that a host is waited for when a link to it that may be dead does not answer for a while.
func (r *run) hanging(host string, back *returning) (stop func()) {
	if back == nil || !slices.Contains(back.lost, host) {
		return func() {}
	}
	t := time.AfterFunc(2*returnPoll, func() { r.waitsFor(host, back, "no new connection could be made") })
	return func() { t.Stop() }
}

// limit bounds a try to reach a host.
func (b *returning) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if b == nil {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, b.until.Add(returnMargin))
}

// returns has hosts let the controller in although they have gone back by themselves meanwhile: it comes to take back the rest.
func (f *fleet) returns(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.went == nil {
		f.went = map[string]bool{}
	}
	f.went[host] = true
}

// askUnconfirmed finds out which hosts have gone back by themselves since another process of the run has worked on them: what they did there counts as undone.
// So does, for now, what was done on a host that does not say. Hosts that still wait hear of the run from here on.
func (r *run) askUnconfirmed(ctx context.Context) {
	if r.resumed == nil {
		return
	}
	record := r.resumed.Record
	asked, err := limited(r.o)
	if err != nil {
		return // the plays say so
	}
	var hosts []string
	for _, h := range asked {
		if _, waits := record.Unconfirmed[h.Name]; waits {
			hosts = append(hosts, h.Name)
		}
	}
	back := goesBack(0)
	back.there = true
	went := make([]*taken, len(hosts))
	r.onEach(hosts, func(h string) {
		i := slices.Index(hosts, h)
		went[i] = &taken{}
		for _, w := range r.fleet.ways(h) {
			if !w.cluster {
				r.askSwitch(ctx, w, record.Unconfirmed[h], back, went[i])
			}
		}
	})
	for i, h := range hosts {
		r.unlessConfirmed(h, went[i])
	}
}

// askSwitch asks what one identity has taken back.
func (r *run) askSwitch(ctx context.Context, w way, since int64, back *returning, t *taken) {
	var report journal.Report
	err := r.patiently(ctx, w, undoing{back: back}, func(c *remote.Client) (err error) {
		report, err = c.Undo(ctx, r.id, r.fleet.holder, remote.UndoOptions{Preview: true, DownTo: since})
		return err
	})
	report.Items = nil
	t.add(w, report, err)
}

func (r *run) unlessConfirmed(host string, t *taken) {
	record := r.resumed.Record
	since := record.Unconfirmed[host]
	switch err := t.err(); {
	case err != nil:
		record.TakenBack([]string{host}, since)
		r.emit(event.Event{Kind: event.Warning, Host: host, Message: fmt.Sprintf("cannot ask %s whether it has gone back by itself: %v; what it did is done once more", host, err)})
	case t.byItself() > 0:
		record.TakenBack([]string{host}, since)
		r.emit(event.Event{Kind: event.UndoStart, Hosts: []string{host}})
		r.tell(host, t, undoing{})
		r.note(store.Line{Undone: []string{host}, Since: since})
	}
}

// unconfirmed are the hosts of the run that still wait to be confirmed, sorted.
func (r *run) unconfirmed() []string {
	r.fleet.mu.Lock()
	var hosts []string
	for id := range r.fleet.past {
		if !slices.Contains(hosts, id.Host) {
			hosts = append(hosts, id.Host)
		}
	}
	r.fleet.mu.Unlock()
	hosts = slices.DeleteFunc(hosts, func(h string) bool { return len(r.fleet.awaiting(h)) == 0 })
	slices.Sort(hosts)
	return hosts
}
