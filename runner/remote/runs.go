package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// What stays of runs that are over, for a rollback by hand.
const (
	keepRuns = 20
	keepAge  = 30 * 24 * time.Hour
)

type beginCall struct {
	call
	Run    string         `json:"run"`
	Holder journal.Holder `json:"holder"`
	Dead   int64          `json:"dead,omitempty"` // the token of a holder whose process is known to have ended
	// Returns is that of the holder.
	Returns bool `json:"returns,omitempty"`
}

// beginAnswer is the answer to a beginCall.
type beginAnswer struct {
	Token  int64         `json:"token"`
	Within time.Duration `json:"within,omitempty"` // the run waits to be confirmed; see Confirm
}

type undoCall struct {
	beginCall
	UndoOptions
}

// UndoOptions of Client.Undo.
type UndoOptions struct {
	Force  bool  `json:"force,omitempty"`   // restore also what somebody else changed since
	DownTo int64 `json:"down_to,omitempty"` // undo only what tasks from this number on did; zero undoes all
	Guards bool  `json:"guards,omitempty"`  // undo nothing, report the points of no return that have been passed; a preview takes no lock for that
	Hold   bool  `json:"hold,omitempty"`    // restore states alone; a later Undo fires the refreshes
	Fire   bool  `json:"fire,omitempty"`    // fire refreshes also when only another journal of the host has restored something
	// Preview alters nothing and reports what an Undo would come to now.
	Preview bool `json:"preview,omitempty"`
	// For, if any, are the hosts for which what is undone was done; "" is the host itself.
	For []string `json:"for,omitempty"`
	// Each, if set, is called with every item as it is done, by the goroutine that waits.
	Each func(journal.Item) `json:"-"`
}

// Begin starts or continues a run on the host: what tasks alter from now on is journaled under its name. The host is locked for
// other runs until Close, and for a while after a lost link; the error is Refused and names the holder when another run has it. A
// holder whose process ran on this bastion and is gone is not waited for. h.Token is what an earlier Begin on this host has
// given, 0 before; see Token.
func (c *Client) Begin(ctx context.Context, run string, h journal.Holder) error {
	begin := func(dead int64) error {
		var b beginAnswer
		err := c.ask(ctx, frameBegin, func(id call) any { return beginCall{id, run, h, dead, h.Returns} }, &b)
		if err == nil {
			c.token = b.Token
			c.awaits(b.Within)
		}
		return err
	}
	err := begin(0)
	if tasks.KindOf(err) != tasks.Refused {
		return err
	}
	if l, cannot := c.Lock(ctx); cannot == nil && l.Standing == journal.Left && l.Holder.Bastion == h.Bastion && l.Holder.Gone() {
		return begin(l.Token)
	}
	return err
}

// Token is what the host has given this controller at Begin. Whoever comes back over a new link must show it, so that it is refused
// if the host has passed to a newer controller meanwhile.
func (c *Client) Token() int64 { return c.token }

// Lock is how things stand with the host's lock, as far as it is this identity's.
func (c *Client) Lock(ctx context.Context) (journal.LockState, error) {
	var l journal.LockState
	err := c.ask(ctx, frameLock, func(id call) any { return id }, &l)
	return l, err
}

type unlockCall struct {
	call
	Force bool `json:"force,omitempty"`
}

// Unlock takes the host from its holder, who is refused from then on, and returns how things stood. A holder that is alive is an
// error of kind Refused unless force is set.
func (c *Client) Unlock(ctx context.Context, force bool) (journal.LockState, error) {
	var l journal.LockState
	err := c.ask(ctx, frameUnlock, func(id call) any { return unlockCall{id, force} }, &l)
	return l, err
}

// Undo takes back what the run altered on the host as this identity, newest first. What cannot be taken back is in the report;
// the error is about the undo as a whole. When ctx ends, the item in hand is completed, and a later Undo goes on from there; so
// it does after a lost link.
func (c *Client) Undo(ctx context.Context, run string, h journal.Holder, o UndoOptions) (journal.Report, error) {
	var r journal.Report
	p, err := c.begin(frameUndo, 0, func(id uint64) (any, error) { return undoCall{beginCall{call: call{id}, Run: run, Holder: h}, o}, nil })
	if err != nil {
		return r, err
	}
	var unreadable error
	err = c.wait(ctx, p, func(a answer) {
		if a.Last && a.Value != nil {
			unreadable = c.value(a.Value, &r)
		} else if o.Each != nil {
			var i journal.Item
			if unreadable = c.value(a.Value, &i); unreadable == nil {
				o.Each(i)
			}
		}
	})
	if err == nil {
		err = unreadable
	}
	return r, err
}

// Commit ends automatic undo of the run on the host. Its before-images stay for a while.
func (c *Client) Commit(ctx context.Context, run string, h journal.Holder) error {
	return c.ask(ctx, frameCommit, func(id call) any { return beginCall{call: id, Run: run, Holder: h} }, nil)
}

// Confirm says that what the run did on the host stays: it does not go back by itself any more. The error is Refused when it has done so already. It is
// for a client of its own, over a new connection: one that is there works on when no other can be made.
func (c *Client) Confirm(ctx context.Context, run string, h journal.Holder) error {
	return c.ask(ctx, frameConfirm, func(id call) any { return beginCall{call: id, Run: run, Holder: h} }, nil)
}

// Runs lists the runs that the host has a journal of, made as this identity.
func (c *Client) Runs(ctx context.Context) ([]journal.Run, error) {
	var runs []journal.Run
	err := c.ask(ctx, frameRuns, func(id call) any { return id }, &runs)
	return runs, err
}

// book is the journal of the run that is going on, on the helper's side; it belongs to the worker.
type book struct {
	seat    seat
	journal *journal.Journal // nil before begin
}

// close ends the run here. The host stays the controller's for a while, unless that has said that it is done.
func (b *book) close(done bool) {
	if b.journal != nil {
		if done {
			_ = b.journal.Release() // or it expires
		}
		_ = b.journal.Close() // every record is on stable storage already
	}
	b.seat.leave()
	b.journal = nil
}

// holder is the controller with the token that it has been given here.
func (b *book) holder(h journal.Holder) journal.Holder {
	if b.journal != nil {
		h.Token = b.journal.Token()
	}
	return h
}

// kept tells whether the run has a journal here.
func (b *book) kept() bool { return b.journal != nil && b.journal.Begun() }

// current refuses a controller from whom the host has been taken.
func (b *book) current() error {
	if b.journal == nil {
		return nil
	}
	return b.journal.Current()
}

func (s *server) recorder(t taskCall) tasks.Recorder {
	switch {
	case s.book.journal == nil:
		return nil // a task that would alter something is refused
	case t.Confirm != nil:
		return armed{s.book.journal, s, *t.Confirm}
	case s.o.keep != nil:
		return s.o.keep(s.book.journal)
	}
	return s.book.journal
}

func (s *server) begin(ctx context.Context, payload []byte) (got beginAnswer, err error) {
	var b beginCall
	if err := json.Unmarshal(payload, &b); err != nil {
		return got, fmt.Errorf("%w: %w", errProtocol, err)
	}
	s.closeBook(false)
	if err := s.openBook(ctx, b); err != nil {
		return got, beginError(err)
	}
	got.Token = s.book.journal.Token()
	if got.Within, err = s.watchedOver(ctx, b.Run); err != nil {
		err = beginError(err)
	}
	return got, err
}

// openBook takes the host for a run until the session ends.
func (s *server) openBook(ctx context.Context, b beginCall) error {
	b.Holder.Returns = b.Returns
	j, err := journal.Open(s.o.StateDir, b.Run, b.Holder)
	if err != nil {
		return err
	}
	j.TakeFrom(b.Dead)
	if err = j.Lock(ctx); err == nil {
		err = s.book.seat.take(ctx, s.o.StateDir, b.Holder)
	}
	if err != nil {
		return errors.Join(err, j.Close())
	}
	s.book.journal = j
	s.watch(j)
	return nil
}

// closeBook ends the run that is going on, if there is one.
func (s *server) closeBook(done bool) {
	s.watch(nil)
	s.book.close(done)
}

func (s *server) unlock(ctx context.Context, payload []byte) (journal.LockState, error) {
	var u unlockCall
	if err := json.Unmarshal(payload, &u); err != nil {
		return journal.LockState{}, fmt.Errorf("%w: %w", errProtocol, err)
	}
	return journal.Unlock(ctx, s.o.StateDir, u.Force)
}

func beginError(err error) error {
	var known *tasks.Error
	if errors.As(err, &known) {
		return err
	}
	kind := tasks.Failed
	if errors.Is(err, fs.ErrPermission) {
		kind = tasks.Denied
	}
	return &tasks.Error{Kind: kind, Op: "begin the run on the host", Err: err}
}

// undo may be the first thing a helper does: then it takes the host, if the run has done something here. Its items are told as they are done.
func (s *server) undo(ctx context.Context, payload []byte) (journal.Report, error) {
	var u undoCall
	if err := json.Unmarshal(payload, &u); err != nil {
		return journal.Report{}, fmt.Errorf("%w: %w", errProtocol, err)
	}
	o := journal.UndoOptions{Force: u.Force, DownTo: u.DownTo, For: u.For, Guards: u.Guards, Hold: u.Hold, Fire: u.Fire, Step: s.o.step}
	if u.Preview {
		return journal.Preview(ctx, s.o.StateDir, u.Run, o, s.o.Kinds)
	}
	if err := s.book.current(); err != nil {
		return journal.Report{}, err
	}
	if s.book.journal == nil && journal.Kept(s.o.StateDir, u.Run) {
		if err := s.openBook(ctx, u.beginCall); err != nil {
			return journal.Report{}, beginError(err)
		}
	}
	o.Holder = s.book.holder(u.Holder)
	o.Report = func(i journal.Item) {
		if v, err := marshal(i); err == nil {
			_ = s.answer(answer{ID: u.ID, Value: v}) // a lost link ends the undo through ctx
		}
	}
	return journal.Undo(ctx, s.o.StateDir, u.Run, o, s.o.Kinds)
}

func (s *server) commit(ctx context.Context, payload []byte) error {
	var b beginCall
	if err := json.Unmarshal(payload, &b); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	if err := s.book.current(); err != nil {
		return err
	}
	if err := journal.Commit(ctx, s.o.StateDir, b.Run, s.book.holder(b.Holder)); err != nil {
		return err
	}
	return journal.Prune(s.o.StateDir, keepRuns, keepAge, time.Now())
}
