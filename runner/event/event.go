// Package event is what a run tells the world: a stream of Events, and the printers that show it.
//
// A run emits each Event once, in order, from one goroutine at a time, to a Sink. Printers are sinks: Plain writes the lines that
// users of ansible-playbook know, Live adds a status line at the foot of a terminal, JSON writes one event a line. The run store is
// a JSON sink on a file, so what is stored is what was shown. Mask stands before all of them: a string that was registered as
// secret leaves no printer.
package event

import (
	"time"

	"github.com/calroll/calroll/playbooks/source"
)

// Kind says what happened.
type Kind string

// The kinds of events, in the order in which a run emits them.
const (
	RunStart     Kind = "run_start"
	PlayStart    Kind = "play_start"
	PlayHosts    Kind = "play_hosts" // the play's hosts, in its order; printers show the batches instead
	NoHosts      Kind = "no_hosts"   // the play's pattern matched nothing
	Absent       Kind = "absent"     // a host of the play is known to be away
	BatchStart   Kind = "batch_start"
	TaskStart    Kind = "task_start"
	HostStart    Kind = "host_start" // the task begins on a host; only Live shows it
	ItemDone     Kind = "item_done"  // one item of a loop
	HostDone     Kind = "host_done"  // the task is done on a host
	TaskEnd      Kind = "task_end"   // a task of one of several plays that go at the same time is done on all hosts
	Retry        Kind = "retry"      // until did not hold yet
	Included     Kind = "included"
	Connect      Kind = "connect"
	Prompt       Kind = "prompt"     // the user is asked
	SoakStart    Kind = "soak_start" // the gates have to hold from now on
	SoakEnd      Kind = "soak_end"
	ConfirmStart Kind = "confirm_start" // hosts are told that what they did stays
	ConfirmHost  Kind = "confirm_host"
	Halt         Kind = "halt" // why no further batch begins
	UndoStart    Kind = "undo_start"
	UndoWait     Kind = "undo_wait" // for a host that goes back by itself
	UndoHost     Kind = "undo_host"
	Commit       Kind = "commit"
	Warning      Kind = "warning"
	Recap        Kind = "recap"
	RunEnd       Kind = "run_end"
)

// Status is how a task, or an item of its loop, ended on a host. The words are Ansible's.
type Status string

// The statuses. Ignored is a failure that ignore_errors lets pass; Rescued one that a rescue section takes.
const (
	OK          Status = "ok"
	Changed     Status = "changed"
	Skipped     Status = "skipped"
	Failed      Status = "failed"
	Ignored     Status = "ignored"
	Rescued     Status = "rescued"
	Unreachable Status = "unreachable"
)

// Event is one thing that happened. Which fields are set depends on Kind; all text is already free of secrets.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    Kind      `json:"event"`
	Run     string    `json:"run,omitempty"`
	Play    string    `json:"play,omitempty"`
	Lane    int       `json:"lane,omitempty"` // which of the plays that go at the same time it is of, from 1; 0 when a play goes alone
	Task    string    `json:"task,omitempty"`
	TaskNo  int64     `json:"task_no,omitempty"` // counts task starts of the run from 1
	Action  string    `json:"action,omitempty"`
	Handler bool      `json:"handler,omitempty"`
	Gate    string    `json:"gate,omitempty"`  // before, after or soak, of a task that is a gate
	Where   string    `json:"where,omitempty"` // file:line:col of the task

	Host      string   `json:"host,omitempty"`
	Delegated string   `json:"delegated_to,omitempty"`
	Hosts     []string `json:"hosts,omitempty"`
	Batch     int      `json:"batch,omitempty"`
	Batches   int      `json:"batches,omitempty"`
	Canary    bool     `json:"canary,omitempty"`
	Confirm   float64  `json:"confirm,omitempty"` // of a BatchStart: for how many seconds its hosts wait to be confirmed

	Status  Status         `json:"status,omitempty"`
	Label   any            `json:"item,omitempty"`   // a loop item's label
	Result  map[string]any `json:"result,omitempty"` // censored when the task says no_log
	Diff    []Diff         `json:"diff,omitempty"`
	Verbose bool           `json:"verbose,omitempty"` // print Result at any verbosity (debug)
	Loop    bool           `json:"loop,omitempty"`    // a HostDone that sums up items already shown
	Table   *Table         `json:"table,omitempty"`   // shown in place of Result

	Message string            `json:"message,omitempty"`
	Hint    string            `json:"hint,omitempty"`
	Counts  map[string]Counts `json:"recap,omitempty"`   // by host
	Preview bool              `json:"preview,omitempty"` // of an UndoStart: nothing is taken back
	Exit    *int              `json:"exit,omitempty"`
	Seconds float64           `json:"seconds,omitempty"` // how long the task took on the host, or the run
	Wire    *Wire             `json:"wire,omitempty"`

	// Of a HostDone or ItemDone that failed, for those who want to know why.
	Rescued bool   `json:"rescued,omitempty"` // a rescue section takes the failure
	At      string `json:"at,omitempty"`      // file:line:col of the template or value that is to blame, when that is known
	Vars    []Var  `json:"vars,omitempty"`    // the variables that the task has used
	Login   string `json:"login,omitempty"`   // the command that logs in to the host

	Pos source.Pos `json:"-"`
}

// Var is a variable that a task has used. Value is its value as JSON, cut when it is long; it is empty when there is none to show: Hidden
// says that it is a secret, Undefined that the variable does not exist.
type Var struct {
	Name      string `json:"name"`
	From      string `json:"from,omitempty"`  // the kind of place: "role defaults", "extra variables", a file of group_vars, ...
	Where     string `json:"where,omitempty"` // file:line:col, when it was written in a file or set by a task
	Value     string `json:"value,omitempty"`
	Hidden    bool   `json:"hidden,omitempty"`
	Undefined bool   `json:"undefined,omitempty"`
}

// Wire counts what crossed the connections of a run, in both directions, frame headers included.
type Wire struct {
	FramesOut int64 `json:"frames_out"`
	FramesIn  int64 `json:"frames_in"`
	BytesOut  int64 `json:"bytes_out"`
	BytesIn   int64 `json:"bytes_in"`
}

// Diff is what a task changed in one thing, in text.
type Diff struct {
	Before       string `json:"before"`
	After        string `json:"after"`
	BeforeHeader string `json:"before_header,omitempty"`
	AfterHeader  string `json:"after_header,omitempty"`
	Prepared     string `json:"prepared,omitempty"` // a diff that is shown as it is
}

// Counts is a host's line of the recap.
type Counts struct {
	OK          int `json:"ok"`
	Changed     int `json:"changed"`
	Unreachable int `json:"unreachable"`
	Failed      int `json:"failed"`
	Skipped     int `json:"skipped"`
	Rescued     int `json:"rescued"`
	Ignored     int `json:"ignored"`
	Undone      int `json:"undone,omitempty"` // records taken back
	Absent      int `json:"absent,omitempty"` // 1 for a host that the inventory says is away
}

// Add counts a task that ended with s. As in Ansible a changed task is also ok, and so is an ignored failure.
func (c *Counts) Add(s Status, changed bool) {
	switch s {
	case OK, Changed:
		c.OK++
		if s == Changed {
			c.Changed++
		}
	case Skipped:
		c.Skipped++
	case Failed:
		c.Failed++
	case Rescued:
		c.Rescued++
	case Unreachable:
		c.Unreachable++
	case Ignored:
		c.Ignored++
		c.OK++
		if changed {
			c.Changed++
		}
	}
}

// Sink takes events. Emit is never called twice at once.
type Sink interface {
	Emit(Event)
}

// Sinks hands every event to each of its sinks, in order.
type Sinks []Sink

// Emit implements Sink.
func (s Sinks) Emit(e Event) {
	for _, sink := range s {
		sink.Emit(e)
	}
}
