package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/calroll/calroll/tasks"
)

// UndoOptions say how a run is undone.
type UndoOptions struct {
	Holder Holder
	Force  bool     // restore also what somebody else changed since
	DownTo int64    // only records of this task and later ones; 0 is all
	For    []string // only records of what was done for these hosts, "" being the host itself; none is all
	Guards bool     // only ask the points of no return, and report those that have been passed
	Hold   bool     // restore states alone; a later Undo fires the refreshes and ends the run
	Fire   bool     // fire refreshes even if nothing in this journal was restored: another one of the host has restored something
	// ByItself: the host takes the run back because it was not confirmed.
	ByItself bool
	Step     func(point string) // called where a cut would leave a state of its own; for proofs by cutting
	Report   func(Item)         // told each item as it is done; may be nil
}

// Item is what undoing one record came to.
type Item struct {
	Seq     int64         `json:"seq"`
	Task    int64         `json:"task,omitempty"`
	Kind    string        `json:"kind"`
	Key     string        `json:"key"`
	Outcome tasks.Outcome `json:"outcome"`
	Error   string        `json:"error,omitempty"`
}

// Report is what undoing a run came to, in the order in which it was done.
type Report struct {
	Run   string `json:"run"`
	Items []Item `json:"items"`
	Note  Note   `json:"note,omitzero"`
	// Unknown: there is no journal of the run, because it has altered nothing here as this user, or because the journal is gone.
	Unknown bool `json:"unknown,omitempty"`
	// Disarmed: when the undo was over the run did not wait to be confirmed here. A preview does not tell.
	Disarmed bool `json:"disarmed,omitempty"`
}

// Note tells what a host did by itself because it was not confirmed, or could not do.
type Note struct {
	Restored int           `json:"restored,omitempty"` // states that are back by that
	Lost     bool          `json:"lost,omitempty"`     // its watcher ended before it could
	Within   time.Duration `json:"within,omitempty"`   // the time to confirm it, in nanoseconds
}

// String says it in words; nothing is "".
func (n Note) String() string {
	switch {
	case n.Restored > 0:
		return fmt.Sprintf("%d taken back by the host itself (not confirmed in %s)", n.Restored, n.Within)
	case n.Lost:
		return fmt.Sprintf("it was not confirmed in %s, and did not go back by itself: the host was booted, or its watcher was killed", n.Within)
	}
	return ""
}

// OK tells whether everything is as it was.
func (r Report) OK() bool { return len(r.Problems()) == 0 }

// Problems are the items that are not as they were.
func (r Report) Problems() []Item {
	return slices.DeleteFunc(slices.Clone(r.Items), func(i Item) bool { return settled(i.Outcome) })
}

// Undo takes a run back: states newest first, then the refreshes once each, in the order in which they were first done.
// It goes on past an item that fails or is refused, but for a Guard, which it stops at; the Report names it, and a later Undo tries it again. It may be cut
// anywhere and called again. The error is for what keeps it from working at all; a run that altered nothing has nothing to undo.
func Undo(ctx context.Context, dir, run string, o UndoOptions, kinds tasks.Kinds) (Report, error) {
	report := Report{Run: run}
	if o.Step == nil {
		o.Step = func(string) {}
	}
	j, err := Open(dir, run, o.Holder)
	if err != nil {
		return report, err
	}
	if _, err := os.Stat(j.path(linesName)); errors.Is(err, os.ErrNotExist) {
		report.Unknown, report.Disarmed = true, disarmed(dir, run)
		return report, nil
	}
	defer j.part()
	if err := j.Lock(ctx); err != nil {
		return report, err
	}
	if o.ByItself {
		if err := j.write(ctx, line{What: "fired", At: time.Now().UTC()}, true); err != nil {
			return report, err
		}
	}
	r, entries, err := read(dir, run)
	if err != nil {
		return report, err
	}
	if o.For != nil {
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return !slices.Contains(o.For, e.For) })
	}
	report.Note = r.note(dir, entries, o.DownTo)
	if o.Guards {
		report.Items = passedGuards(ctx, entries, kinds)
		return report, nil
	}
	if slices.ContainsFunc(entries, func(e Entry) bool { return o.restores(e, kinds) }) {
		if err := j.write(ctx, line{What: "undoing", At: time.Now().UTC()}, true); err != nil {
			return report, err
		}
	}
	u := &undo{UndoOptions: o, journal: j, kinds: kinds, report: &report, needless: map[int64]bool{}, last: map[string]tasks.Before{}, restored: r.undoing || o.Fire}
	if err := u.run(ctx, entries); err != nil {
		return report, err
	}
	err = u.undid(ctx, r)
	report.Disarmed = err == nil && disarmed(dir, run)
	return report, err
}

// restores tells whether an undo has a state to restore in e: only then may it be cut in between.
func (o UndoOptions) restores(e Entry, kinds tasks.Kinds) bool {
	_, refresh := kinds[e.Kind].(tasks.Refresher)
	return !refresh && !settled(e.Outcome) && e.Task >= o.DownTo
}

// passedGuards are the points of no return that would hold up an undo, newest first. A run is kept in several journals where its tasks work as
// several users, or on clusters through the host: what one of them knows holds up the others too.
func passedGuards(ctx context.Context, entries []Entry, kinds tasks.Kinds) []Item {
	var passed []Item
	for _, e := range slices.Backward(entries) {
		if _, guard := kinds[e.Kind].(tasks.Guard); !guard || settled(e.Outcome) {
			continue
		}
		if out, err := kinds.Restore(ctx, e.Before, tasks.Kept{}, false); err != nil {
			passed = append(passed, Item{Seq: e.Seq, Task: e.Task, Kind: e.Kind, Key: e.Key, Outcome: out, Error: err.Error()})
		}
	}
	return passed
}

// undo is one Undo under way.
type undo struct {
	UndoOptions
	journal  *Journal
	kinds    tasks.Kinds
	report   *Report
	failed   []Entry
	needless map[int64]bool          // records of what need not come back
	last     map[string]tasks.Before // by what they are about, the records that have been taken back last
	restored bool                    // this undo has restored something, or an earlier one, which was cut, may have
}

func (u *undo) run(ctx context.Context, entries []Entry) error {
	var refreshes []Entry
	passing := u.passing(entries)
	for _, e := range slices.Backward(entries) {
		if e.Task < u.DownTo {
			continue
		}
		u.restored = u.restored || e.Outcome == tasks.Restored || e.Outcome == tasks.Forced
		if _, ok := u.kinds[e.Kind].(tasks.Refresher); ok {
			refreshes = append(refreshes, e)
			continue
		}
		if seqs := passing[e.Seq]; seqs != nil && u.isAbsent(ctx, e) {
			for _, seq := range seqs {
				u.needless[seq] = true
			}
		}
		e.StandIn = u.kinds.StandIn(u.last[e.String()], e.Before)
		u.last[e.String()] = e.Before
		if settled(e.Outcome) {
			continue
		}
		if err := u.restore(ctx, e); err != nil {
			return err
		}
		if u.heldUp(e) {
			break
		}
	}
	if u.Hold {
		return nil
	}
	slices.Reverse(refreshes)
	if err := u.refresh(ctx, refreshes); err != nil {
		return err
	}
	if err := u.retry(ctx); err != nil {
		return err
	}
	if u.DownTo == 0 && u.For == nil && u.report.OK() {
		return u.journal.write(ctx, line{What: "ended", At: time.Now().UTC()}, true)
	}
	return nil
}

// passing are the records about what the run made and took away again, and about what was in it, from after the one that made it on, by the one that took
// it away.
func (u *undo) passing(entries []Entry) map[int64][]int64 {
	all, made := map[int64][]int64{}, map[string]int{}
	for i, e := range entries {
		p, ok := u.kinds[e.Kind].(tasks.Passing)
		if !ok || e.Task < u.DownTo {
			continue
		}
		since, known := made[e.String()]
		switch {
		case e.Was == p.Absent():
			made[e.String()] = i
		case known && e.After == p.Absent():
			all[e.Seq] = within(p, e, entries[since+1:i+1])
			delete(made, e.String())
		}
	}
	return all
}

func within(p tasks.Passing, holder Entry, entries []Entry) []int64 {
	var seqs []int64
	for _, e := range entries {
		if e.String() == holder.String() || e.Kind == holder.Kind && p.Holds(holder.Before, e.Before) {
			seqs = append(seqs, e.Seq)
		}
	}
	return seqs
}

// isAbsent tells whether what e took away is not there, or was not when an earlier undo, which was cut, came to it.
func (u *undo) isAbsent(ctx context.Context, e Entry) bool {
	if e.Outcome != "" {
		return e.Outcome == tasks.Needless
	}
	now, err := u.kinds[e.Kind].State(ctx, e.Before)
	return err == nil && now == e.After
}

// heldUp tells whether e is a point of no return that has been passed: what is older stays.
func (u *undo) heldUp(e Entry) bool {
	_, guard := u.kinds[e.Kind].(tasks.Guard)
	return guard && !u.Force && !settled(u.report.Items[len(u.report.Items)-1].Outcome)
}

func (u *undo) restore(ctx context.Context, e Entry) error {
	if err := ctx.Err(); err != nil {
		return &tasks.Error{Kind: tasks.Canceled, Op: "undo the rest of the run " + u.journal.run, Err: context.Cause(ctx)}
	}
	if u.needless[e.Seq] {
		return u.note(ctx, e, tasks.Needless, nil)
	}
	kept := tasks.Kept{Linked: e.Linked}
	if e.Blob != "" {
		kept.Path = u.journal.path(blobsName, e.Blob)
	}
	u.Step("before undo of a record")
	out, err := u.kinds.Restore(ctx, e.Before, kept, u.Force)
	u.Step("after undo of a record")
	if err := u.note(ctx, e, out, err); err != nil {
		return err
	}
	if out == tasks.Undoable {
		u.failed = append(u.failed, e)
	}
	u.restored = u.restored || out == tasks.Restored || out == tasks.Forced
	if settled(out) && kept.Path != "" { // also so that a file that was never replaced has one name again
		_ = os.RemoveAll(kept.Path)
	}
	return nil
}

// retry tries once more what could not be restored before the refreshes: it may have been in use by what has been restarted since
// (an image by its container).
func (u *undo) retry(ctx context.Context) error {
	failed := u.failed
	for _, e := range failed {
		u.report.Items = slices.DeleteFunc(u.report.Items, func(i Item) bool { return i.Seq == e.Seq })
		if err := u.restore(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// note writes the outcome, synced, before anything older is touched.
func (u *undo) note(ctx context.Context, e Entry, out tasks.Outcome, err error) error {
	item := Item{Seq: e.Seq, Task: e.Task, Kind: e.Kind, Key: e.Key, Outcome: out}
	if err != nil {
		item.Error = err.Error()
	}
	u.report.Items = append(u.report.Items, item)
	if u.Report != nil {
		u.Report(item)
	}
	return u.journal.write(context.WithoutCancel(ctx), line{What: "undone", Seq: e.Seq, Outcome: out, ByItself: u.ByItself, At: time.Now().UTC()}, true)
}

// refresh fires what was fired in the run once more, now that the states are restored. If nothing was restored there is no need.
func (u *undo) refresh(ctx context.Context, entries []Entry) error {
	if !u.restored {
		return nil
	}
	for kind, r := range u.kinds {
		if s, ok := r.(tasks.Settler); ok {
			if err := s.Settle(ctx); err != nil {
				u.report.Items = append(u.report.Items, Item{Kind: kind, Key: "after the restores", Outcome: tasks.Undoable, Error: err.Error()})
			}
		}
	}
	fired := map[string]tasks.Outcome{}
	for _, e := range entries {
		if settled(e.Outcome) {
			continue
		}
		key := e.Kind + " " + e.Key + " " + string(e.Meta)
		out, again := fired[key]
		var err error
		if !again {
			out, err = u.fire(ctx, e)
			fired[key] = out
		}
		if err := u.note(ctx, e, out, err); err != nil {
			return err
		}
	}
	return nil
}

func (u *undo) fire(ctx context.Context, e Entry) (tasks.Outcome, error) {
	did, err := u.kinds[e.Kind].(tasks.Refresher).Refresh(ctx, e.Before)
	switch {
	case err != nil:
		return tasks.Undoable, err
	case did:
		return tasks.Fired, nil
	}
	return tasks.Needless, nil
}
