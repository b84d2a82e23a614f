package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// A Line is one thing that a later process must know to go on with a run. The lines of a run are in the order of what happened; which fields
// are set says what it is.
type Line struct {
	Play int `json:"play"` // of the run, counted from 0

	// Order: a play begins, and takes its hosts in this order.
	Order []string `json:"order,omitempty"`

	// Batch: a batch of these hosts begins, and Since is the number of the first task that an undo of it takes back.
	Batch []string `json:"batch,omitempty"`
	Since int64    `json:"since,omitempty"`

	// Awaits: hosts that go back by themselves, to before task Since, unless they are confirmed. Confirmed: these are.
	Awaits    []string `json:"awaits,omitempty"`
	Confirmed []string `json:"confirmed,omitempty"`

	// Passed: the batch of these hosts is over, and what they did is committed.
	Passed []string `json:"passed,omitempty"`

	// Begun: a task that notifies handlers begins. It may alter something without being able to answer.
	Begun *Doing `json:"begun,omitempty"`

	// Answer: a task is done on a host, or with run_once on one for others.
	*Answer

	// Undoing: an undo of what these hosts did from task Since on begins, and of what others did InPlace of each. It is over when they are Undone,
	// or Spared: it could not begin on them.
	Undoing []string            `json:"undoing,omitempty"`
	InPlace map[string][]string `json:"in_place,omitempty"`
	Spared  []string            `json:"spared,omitempty"`

	// Undone: what these hosts did from task Since on has been taken back.
	Undone []string `json:"undone,omitempty"`

	// Resumed: another process goes on with the run.
	Resumed bool `json:"resumed,omitempty"`
}

// Answer is what a task came to on a host.
type Answer struct {
	Doing
	Final []string `json:"final,omitempty"` // the task failed, and these hosts did nothing after it but clean up
	// Again is the number of the first task of the block whose rescue section has failed, with Final: the block is done again as a whole.
	Again int64           `json:"again,omitempty"`
	Kept  json.RawMessage `json:"kept,omitempty"` // the whole result, as the runner writes it
}

// Doing is a task that a host does.
type Doing struct {
	Key
	TaskNo int64    `json:"task_no"`
	For    []string `json:"for,omitempty"` // with run_once, the hosts that it is done for, itself included
}

// hosts are those that the task is done for.
func (t Doing) hosts() []string {
	if len(t.For) > 0 {
		return t.For
	}
	return []string{t.Host}
}

// Key names a task on a host: where it is written and how often the host has come by there in this play.
type Key struct {
	Host  string `json:"host"`
	Task  string `json:"task"`
	Visit int    `json:"visit,omitempty"` // from 0
}

const answersName = "answers.jsonl"

// Keep appends a line. It is out of this process when Keep returns, so that a kill does not lose it; what a power cut of the controller loses is done once more.
// It may be called from several goroutines.
func (r *Run) Keep(l Line) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("cannot record run %s: %w", r.ID, err)
	}
	r.keeping.Lock()
	defer r.keeping.Unlock()
	if r.answers == nil {
		if r.answers, err = openAnswers(r.dir); err != nil {
			return fmt.Errorf("cannot record run %s: %w", r.ID, err)
		}
	}
	if _, err := r.answers.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("cannot record run %s: %w", r.ID, err)
	}
	return nil
}

// openAnswers opens the lines for appending. A torn last line, as a kill or a full disk leaves it, is cut off.
func openAnswers(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, answersName), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := cutTornLine(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// closeAnswers ends the lines.
func (r *Run) closeAnswers() error {
	r.keeping.Lock()
	defer r.keeping.Unlock()
	if r.answers == nil {
		return nil
	}
	err := r.answers.Close()
	r.answers = nil
	return err
}

// Note adds a line to a stored run.
func (s *Store) Note(id string, l Line) error {
	r := &Run{Meta: Meta{ID: id}, dir: filepath.Join(s.dir, id)}
	return errors.Join(r.Keep(l), r.closeAnswers())
}

// Record is what a run is known to have done: what a resume goes by.
type Record struct {
	Orders  map[int][]string // by play
	Since   map[HostOf]int64 // of hosts whose batch has begun
	Answers map[Place]Answer
	Begun   map[Place]int64 // the numbers of tasks that notify handlers and may have altered something without an answer
	Passed  map[HostOf]bool // hosts whose batch is over
	LastNo  int64           // the highest number of a task
	// Unconfirmed are hosts that may have gone back by themselves, to before this task.
	Unconfirmed map[string]int64
	// Undoing are hosts of which an undo was begun and is not over.
	Undoing map[string]HalfUndone
}

// HalfUndone is an undo that is not over.
type HalfUndone struct {
	Since   int64    // the first task that it takes back
	InPlace []string // hosts that have done something in the place of the one that is undone
}

// HostOf names a host in a play of a run.
type HostOf struct {
	Play int
	Host string
}

// Place names a task on a host in a run. With run_once it is that of each host for which the task is done.
type Place struct {
	Play int
	Key
}

// Of is the same place of another host.
func (p Place) Of(host string) Place {
	p.Host = host
	return p
}

// Record reads what a run is known to have done: answers that were followed by nothing but a failure, and those of what was undone, are left out. A run
// without a record has an empty one.
func (s *Store) Record(id string) (*Record, error) {
	f, err := os.Open(filepath.Join(s.dir, id, answersName))
	if errors.Is(err, fs.ErrNotExist) {
		return newRecord(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what run %s has done: %w", id, err)
	}
	defer f.Close()
	rec := newRecording()
	lines := bufio.NewReader(f)
	for {
		raw, err := lines.ReadBytes('\n')
		if err != nil {
			return rec.Record, nil // the end, or a torn line
		}
		var l Line
		if json.Unmarshal(raw, &l) == nil { // else a line that was torn by a full disk
			rec.add(l)
		}
	}
}

func newRecord() *Record {
	return &Record{Orders: map[int][]string{}, Since: map[HostOf]int64{}, Answers: map[Place]Answer{}, Begun: map[Place]int64{}, Passed: map[HostOf]bool{},
		Unconfirmed: map[string]int64{}, Undoing: map[string]HalfUndone{}}
}

// Knows tells that a host has had a place in a play of the run.
func (r *Record) Knows(host string) bool {
	for _, order := range r.Orders {
		if slices.Contains(order, host) {
			return true
		}
	}
	return false
}

// recording puts the lines of a run together.
type recording struct {
	*Record
	out map[HostOf]bool // hosts that have failed for good since the last resume: what they did after it was cleaning up
}

func newRecording() *recording { return &recording{newRecord(), map[HostOf]bool{}} }

func (r *recording) add(l Line) {
	for _, h := range l.Awaits {
		if since, ok := r.Unconfirmed[h]; !ok || l.Since < since {
			r.Unconfirmed[h] = l.Since
		}
	}
	for _, h := range slices.Concat(l.Confirmed, l.Passed) {
		delete(r.Unconfirmed, h)
	}
	for _, h := range l.Undoing {
		r.Undoing[h] = HalfUndone{l.Since, l.InPlace[h]}
	}
	for _, h := range l.Spared {
		delete(r.Undoing, h)
	}
	switch {
	case l.Resumed:
		clear(r.out)
	case l.Order != nil:
		r.Orders[l.Play] = l.Order
	case l.Undone != nil:
		r.TakenBack(l.Undone, l.Since)
	case l.Passed != nil:
		for _, h := range l.Passed {
			r.Passed[HostOf{l.Play, h}] = true
		}
	case l.Begun != nil:
		r.LastNo = max(r.LastNo, l.Begun.TaskNo)
		for _, h := range l.Begun.hosts() {
			r.Begun[Place{l.Play, l.Begun.Key}.Of(h)] = l.Begun.TaskNo
		}
	case l.Answer != nil:
		r.answer(l)
	case l.Batch != nil:
		r.LastNo = max(r.LastNo, l.Since-1)
		for _, h := range l.Batch {
			r.Since[HostOf{l.Play, h}] = l.Since
		}
	}
}

func (r *recording) answer(l Line) {
	r.LastNo = max(r.LastNo, l.TaskNo)
	for _, h := range l.hosts() {
		p := Place{l.Play, l.Key}.Of(h)
		switch {
		case r.out[HostOf{l.Play, h}]:
		case len(l.Final) > 0:
			delete(r.Answers, p)
		default:
			r.Answers[p] = *l.Answer
			delete(r.Begun, p)
		}
	}
	for _, h := range l.Final {
		if l.Again > 0 && !r.out[HostOf{l.Play, h}] {
			r.again(HostOf{l.Play, h}, l.Again)
		}
		r.out[HostOf{l.Play, h}] = true
	}
}

// again forgets what a host has done from a task on, as it is done again. What it has altered may be there still, so its handlers are notified all the same.
func (r *recording) again(h HostOf, since int64) {
	for p, a := range r.Answers {
		if p.Play == h.Play && p.Host == h.Host && a.TaskNo >= since {
			delete(r.Answers, p)
			r.Begun[p] = a.TaskNo
		}
	}
}

// TakenBack takes in that what hosts did from task since on was undone.
func (r *Record) TakenBack(hosts []string, since int64) {
	for _, h := range hosts {
		if r.Unconfirmed[h] >= since {
			delete(r.Unconfirmed, h)
		}
		if r.Undoing[h].Since >= since {
			delete(r.Undoing, h)
		}
	}
	for p, a := range r.Answers {
		if a.TaskNo < since || !slices.Contains(hosts, p.Host) && !slices.Contains(hosts, a.Host) {
			continue
		}
		delete(r.Answers, p)
		if slices.Contains(hosts, p.Host) {
			delete(r.Passed, HostOf{p.Play, p.Host}) // plays that were over before the task stay over
		}
	}
	for p, no := range r.Begun {
		if no >= since && slices.Contains(hosts, p.Host) {
			delete(r.Begun, p)
		}
	}
	for h := range r.Passed {
		if since <= 1 && slices.Contains(hosts, h.Host) {
			delete(r.Passed, h)
		}
	}
}
