package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/machine"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks"
)

// A run is resumed by going through it again from the start, under the same id. The machine decides as it did; what the record has an answer to is not
// done but answered from there: variables, notifications and includes come again, and each host goes on exactly where it stood. No host is
// connected to before it has something left to do.

// Resumption is a run to go on with.
type Resumption struct {
	Run    store.Meta
	Record *store.Record
	// Recheck runs again what was done, so that it holds; what it had notified stays notified.
	Recheck bool
	// AcceptChanges goes on although the run was made from something else than there is now.
	AcceptChanges bool
	// CatchUp takes hosts in that the inventory says are absent, or that were when the run began.
	CatchUp bool
}

// renew reads the run again once its hosts are ours: another bastion may have gone on with it while this one waited for them.
func (s *Resumption) renew(o Options) (err error) {
	if s == nil || o.Shared == nil {
		return nil
	}
	if s.Run, err = o.Store.Load(s.Run.ID); err == nil {
		s.Record, err = o.Store.Record(s.Run.ID)
	}
	return err
}

// unchanged errs when what the run was made from has changed since: then its record may tell of other tasks. Files that the run has included are read
// when their turn comes, so only those are compared that both know.
func (s *Resumption) unchanged(now store.Inputs) error {
	if s.AcceptChanges {
		return nil
	}
	then := s.Run.Inputs
	text := ""
	for _, c := range store.Changes(then, now) {
		switch {
		case c.What == store.ChangedFile && (then.Files[c.Name] == "" || now.Files[c.Name] == ""):
			continue
		case c.What == store.ChangedHost && s.CatchUp && !s.Record.Knows(c.Name):
			continue // the line that said that it was absent is gone, or will be
		}
		text += fmt.Sprintf("\n  %s %s: was %s, is %s", c.What, c.Name, c.Is[0], c.Is[1])
	}
	if text == "" {
		return nil
	}
	return fmt.Errorf("cannot go on with run %s: what it was made from has changed%s\n  hint: --accept-changes goes on all the same; a task that stands elsewhere now, or is called otherwise, is done once more", s.Run.ID, text)
}

// place is where a host stands before a task, which it does for these hosts. Each call of it is a further visit of all of them.
func (p *play) place(r *ref, host string, of []string) store.Place {
	at := store.Place{Play: p.index, Key: store.Key{Host: host, Task: r.task.Pos.String() + " " + r.task.Action + " " + r.task.Name.Text()}}
	n := p.visits[at]
	for _, h := range of {
		p.visits[at.Of(h)] = n + 1
	}
	at.Visit = n
	return at
}

// known is the answer that one of these hosts has had at a place: with run_once it is that of all. begun tells that the task may have altered something
// there although it has no answer.
func (s *Resumption) known(at store.Place, of []string) (a store.Answer, known, begun bool) {
	for _, h := range of {
		if a, known := s.Record.Answers[at.Of(h)]; known {
			return a, true, false
		}
		begun = begun || s.Record.Begun[at.Of(h)] > 0
	}
	return a, false, begun
}

// recall is what a task came to on a host when an earlier process of the run did it, for the hosts that it was for; ok is false when it has to be done
// now. A gate is asked again unless the batch of these hosts is over: it is about how things are.
func (p *play) recall(ctx context.Context, r *ref, h *host, at store.Place, of []string) (o outcome, ok bool) {
	o.host = h
	if p.resumed == nil || r.task.Gate.IsSet() && !p.passed(of) {
		return o, false
	}
	a, known, begun := p.resumed.known(at, of)
	var k kept
	if o.notified = begun; !known || json.Unmarshal(a.Kept, &k) != nil {
		return o, false
	}
	again := p.resumed.Recheck && !k.Result.Skipped && r.task.Include == nil && r.task.Module != "meta"
	if k.Hidden && k.Needed || again {
		o.notified = k.Result.Changed
		return o, false
	}
	o.recalled, o.number = true, a.TaskNo
	if r.task.Include != nil || r.task.Module == "meta" { // these are decided here, and reach no host
		c := &call{play: p, task: r.task, extra: r.extra, host: h, scope: p.scope(r, h.name)}
		o.result = c.run(ctx)
		return o, !o.result.Failed
	}
	o.result, o.ignored = k.result(), k.Ignored
	for _, i := range o.result.each() {
		if i.via != "" {
			p.delegated(h.name, i.via)
		}
	}
	return o, true
}

// passed tells that the batches of hosts were over when the run was resumed.
func (p *play) passed(hosts []string) bool {
	return p.resumed != nil && !slices.ContainsFunc(hosts, func(h string) bool { return !p.resumed.Record.Passed[store.HostOf{Play: p.index, Host: h}] })
}

// begins records that a task begins which notifies handlers. Whoever is lost or killed over it may have altered something: a resume finds nothing to do then,
// and its handlers have to run all the same.
func (p *play) begins(r *ref, at store.Place, of []string, number int64) {
	if p.record != nil && len(r.task.Notify) > 0 && !p.o.Check {
		t := taskAt(at, of, number)
		p.note(store.Line{Play: at.Play, Begun: &t})
	}
}

func taskAt(at store.Place, of []string, number int64) store.Doing {
	t := store.Doing{Key: at.Key, TaskNo: number}
	if len(of) > 1 {
		t.For = of
	}
	return t
}

// keep records what a task came to on a host. What was canceled has no answer: it is done once more.
func (p *play) keep(r *ref, o outcome, at store.Place, of []string) {
	res := o.result
	if p.record == nil || o.passed || o.recalled || res.Failed && res.Kind == tasks.Canceled {
		return
	}
	line := store.Line{Play: at.Play, Answer: &store.Answer{Doing: taskAt(at, of, o.number)}}
	switch final := res.Failed && !o.ignored; {
	case final && res.unreachable(): // nothing rescues a host that is lost, nor has another one lost anything
		line.Final = []string{o.host.name}
	case final && !p.machine.Rescuable(o.host.name):
		line.Final, line.Again = of, p.rescuedSince(o.host)
	default:
		line.Kept = p.keepResult(o, r.task.Register != "")
	}
	p.note(line)
}

// enters notes of a host that has done a task which blocks with a rescue section begin with it.
func (p *play) enters(h *host, number int64) {
	around, _ := p.machine.Rescues(h.name)
	for _, block := range around {
		if h.blocks[block] == 0 {
			h.blocks[block] = number
		}
	}
}

// rescuedSince is the first task of the block whose rescue section has failed on a host: nobody knows what that has left of the block, so a resume begins with
// it. 0 is no such block.
func (p *play) rescuedSince(h *host) int64 {
	if _, block := p.machine.Rescues(h.name); block > 0 {
		return h.blocks[block]
	}
	return 0
}

// note records a line. A record that cannot be written is a warning, once: the run itself goes on, and can be taken back all the same.
func (r *run) note(l store.Line) {
	if r.record == nil {
		return
	}
	if err := r.record.Keep(l); err != nil {
		r.mu.Lock()
		first := !r.unkept
		r.unkept = true
		r.mu.Unlock()
		if first {
			r.emit(event.Event{Kind: event.Warning, Message: fmt.Sprintf("%v; a resume will do more than is needed", err)})
		}
	}
}

// resumeOrder puts the hosts of a play into the order that it had, so that they are in the same batches; hosts that were not there then come last.
func (p *play) resumeOrder(hosts []string) []string {
	if p.resumed == nil {
		return hosts
	}
	left := map[string]bool{}
	for _, h := range hosts {
		left[h] = true
	}
	var ordered []string
	for _, h := range p.resumed.Record.Orders[p.index] {
		if left[h] {
			ordered = append(ordered, h)
			delete(left, h)
		}
	}
	for _, h := range hosts {
		if left[h] {
			ordered = append(ordered, h)
		}
	}
	return ordered
}

// wholeOrder is that of all hosts which the play has ever had, for a later resume: one with a limit has some of them.
func (p *play) wholeOrder(now []string) []string {
	if p.resumed == nil {
		return now
	}
	whole := slices.Clone(p.resumed.Record.Orders[p.index])
	for _, h := range now {
		if !slices.Contains(whole, h) {
			whole = append(whole, h)
		}
	}
	return whole
}

// startBatch notes that a batch begins, from which task on it is taken back if it fails, and that its hosts wait to be confirmed if the play wants that. Those
// whose batch was over before do not.
func (p *play) startBatch(out machine.StartBatch) {
	if p.rollback != machine.All || out.Number == 1 {
		p.since = p.beganSince(out.Hosts)
	}
	l := store.Line{Play: p.index, Batch: out.Hosts, Since: p.since}
	if p.confirmed > 0 {
		l.Awaits = slices.DeleteFunc(slices.Clone(out.Hosts), func(h string) bool { return p.passed([]string{h}) })
	}
	p.note(l)
}

// beganSince is the first task of a batch that begins now, or that an earlier process of the run has begun with one of its hosts. A play that goes back as a
// whole has begun with any of its hosts.
func (p *play) beganSince(hosts []string) int64 {
	since := p.lastTask() + 1
	if p.resumed == nil {
		return since
	}
	for of, began := range p.resumed.Record.Since {
		if of.Play == p.index && (p.rollback == machine.All || slices.Contains(hosts, of.Host)) {
			since = min(since, began)
		}
	}
	return since
}

// headings holds those of plays and batches back of which nothing is done any more, until something is. Nil holds nothing back.
type headings struct {
	held map[int][]event.Event // by lane; nil once something was done under them
}

// pass gives the events to show now that e has come.
func (h *headings) pass(e event.Event) []event.Event {
	if h == nil {
		return []event.Event{e}
	}
	held := h.held[e.Lane]
	switch e.Kind {
	case event.PlayStart:
		if e.Lane == 0 || h.held == nil {
			h.held = map[int][]event.Event{}
		}
		delete(h.held, 0)
		h.held[e.Lane] = []event.Event{e}
		return nil
	case event.BatchStart:
		if len(held) == 0 || held[0].Kind != event.PlayStart {
			held = nil
		}
		h.held[e.Lane] = append(held[:min(len(held), 1)], e)
		return nil
	case event.NoHosts, event.Commit:
		if held != nil {
			return nil
		}
	case event.RunEnd, event.Recap, event.RunStart, event.Warning:
	default:
		delete(h.held, e.Lane)
		return append(held, e)
	}
	return []event.Event{e}
}
