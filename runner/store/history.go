package store

import (
	"context"
	"strings"
	"time"

	"github.com/calroll/calroll/runner/event"
)

// Standing is where a host stands in a run.
type Standing string

// The standings. A host has Passed when its batch has: what it did is there to stay.
const (
	HostWaiting  Standing = "not reached" // its batch, or its play, has not begun
	HostWorking  Standing = "working"
	HostPassed   Standing = "passed"
	HostFailed   Standing = "failed"
	HostLost     Standing = "lost"    // it could not be reached
	HostStopped  Standing = "stopped" // nothing failed on it; the run ended, or its batch did, before the host was through
	HostUndone   Standing = "undone"
	HostHalfDone Standing = "not undone" // it was to be taken back, and something could not be
)

// Host is where a host stands, and what it did last.
type Host struct {
	Name    string       `json:"host"`
	State   Standing     `json:"state"`
	Since   time.Time    `json:"since"`
	Play    string       `json:"play,omitempty"`
	Batch   int          `json:"batch,omitempty"`
	Batches int          `json:"batches,omitempty"`
	Last    *Step        `json:"last,omitempty"`    // the last task that it did or failed at
	Failure *Step        `json:"failure,omitempty"` // the task that it failed at for good, whatever it did afterwards to clean up
	Undo    string       `json:"undo,omitempty"`    // what was said when it was taken back
	ByHand  bool         `json:"by_hand,omitempty"` // it was taken back by calroll rollback, and not by the run itself
	Confirm float64      `json:"confirm,omitempty"` // the host goes back by itself when it was not confirmed for so many seconds; 0 when it does not, or has
	Seconds float64      `json:"seconds"`           // spent in tasks
	Counts  event.Counts `json:"recap"`
	lane    int
}

// Step is a task on a host: what was announced, and what came of it.
type Step struct {
	Task
	Batch   int           `json:"batch,omitempty"`
	Batches int           `json:"batches,omitempty"`
	Event   event.Event   `json:"result"`
	Items   []event.Event `json:"items,omitempty"` // of its loop, those that failed
}

// Task is a task of a run, once for every time it was started.
type Task struct {
	No      int64     `json:"task_no"`
	Play    string    `json:"play"`
	Name    string    `json:"task"`
	Action  string    `json:"action"`
	Where   string    `json:"where"`
	Handler bool      `json:"handler,omitempty"`
	Started time.Time `json:"started"`
}

// Timing is how long a task has taken.
type Timing struct {
	Task
	Seconds  float64                 `json:"seconds"` // from its start until the last host was done
	Slowest  string                  `json:"slowest"` // the host that took longest
	Longest  float64                 `json:"longest"` // seconds that host took
	Outcomes map[string]event.Status `json:"outcomes"`
}

// History is what the events of a run come to. It is an event.Sink: give it the events in order, then call End.
type History struct {
	Hosts   []*Host   // in the order in which the run came to them
	Tasks   []*Timing // in the order in which they were started
	Plays   int       // how many plays have been started
	Recap   bool      // the run has summed itself up
	Stopped string    // why the run was stopped before it was through; empty when it was not

	byName  map[string]*Host
	lanes   event.PerLane[lane]
	undoing map[string]bool // hosts that are taken back themselves
	back    []*Host         // those that have come back since the undo began
}

// lane is how far a play is; those that go at the same time have one each.
type lane struct {
	play   string
	task   *Timing
	failed map[string][]event.Event // items of the running task that failed, by host
}

// Fold is the History of events. over says that no more will come; plan names hosts and plays that the events may not have come to.
func Fold(events []event.Event, plan []Play, over bool) *History {
	h := &History{}
	for _, e := range events {
		h.Emit(e)
	}
	h.End(plan, over)
	return h
}

// EventReader gives the events of a run, in order.
type EventReader interface {
	Events(id string, to event.Sink) error
}

// HistoryOf reads the events of a run.
func HistoryOf(s EventReader, m Meta) (*History, error) {
	h := &History{}
	if err := s.Events(m.ID, h); err != nil {
		return nil, err
	}
	h.End(m.Plan, m.State != Running)
	return h, nil
}

// Host is the host of a name, nil when the run knows none.
func (h *History) Host(name string) *Host { return h.byName[name] }

// Emit implements event.Sink.
func (h *History) Emit(e event.Event) {
	l := h.lanes.Of(e.Lane)
	switch e.Kind {
	case event.RunStart:
		h.Plays, h.Stopped = 0, "" // whoever goes on with a run comes by its plays again
	case event.PlayStart:
		h.startPlay(e)
	case event.PlayHosts:
		h.waiting(e, l.play)
	case event.BatchStart:
		h.startBatch(l, e)
	case event.TaskStart:
		l.task = &Timing{Task: Task{No: e.TaskNo, Play: l.play, Name: e.Task, Action: e.Action, Where: e.Where, Handler: e.Handler, Started: e.Time},
			Outcomes: map[string]event.Status{}}
		h.Tasks, l.failed = append(h.Tasks, l.task), nil
	case event.ItemDone:
		l.itemDone(e)
	case event.HostDone:
		h.hostDone(l, e)
	case event.Included:
		h.included(l, e)
	default:
		h.afterTasks(l, e)
	}
}

// startPlay ends what was before: all of it, unless the play goes at the same time as others.
func (h *History) startPlay(e event.Event) {
	for _, host := range h.Hosts {
		if e.Lane == 0 || host.lane == 0 || host.lane == e.Lane {
			host.settle(e.Time)
		}
	}
	h.Plays++
	*h.lanes.Of(e.Lane) = lane{play: e.Play}
}

// afterTasks takes in what happens when the tasks of a batch are over.
func (h *History) afterTasks(l *lane, e event.Event) {
	switch e.Kind {
	case event.Commit:
		for _, name := range e.Hosts {
			host := h.host(name, e.Time)
			host.State, host.Since, host.Failure, host.Confirm = HostPassed, e.Time, nil, 0
		}
	case event.ConfirmHost:
		h.confirmed(l, e)
	case event.UndoStart:
		h.startUndo(e)
	case event.UndoHost:
		h.undone(e)
	case event.Warning:
		h.warned(e)
	case event.Recap:
		h.Recap, h.back = true, nil // the run has taken them back: a rollback by hand sums nothing up
		for name, c := range e.Counts {
			h.host(name, e.Time).Counts = c
		}
	case event.RunEnd:
		for _, host := range h.back {
			host.ByHand = true
		}
	}
}

// stopping is how the warnings end that say why a run stops.
var stopping = []string{": no further task begins", ": stopping when the tasks in hand are done; nothing more is begun"}

// warned takes in why the run stops. A bastion that slept stops before it knows why, and says so a little later.
func (h *History) warned(e event.Event) {
	for _, words := range stopping {
		why, stops := strings.CutSuffix(e.Message, words)
		if stops && h.Stopped == "" && why != context.Canceled.Error() {
			h.Stopped = why
		}
	}
}

func (h *History) startUndo(e event.Event) {
	if e.Batch <= 1 { // the later waves of a rollback go on with it
		h.back = nil
	}
	if e.Lane == 0 || h.undoing == nil {
		h.undoing = map[string]bool{}
	}
	for _, name := range e.Hosts {
		h.undoing[name] = true
	}
}

func (h *History) host(name string, now time.Time) *Host {
	if host := h.byName[name]; host != nil {
		return host
	}
	host := &Host{Name: name, State: HostWaiting, Since: now}
	if h.byName == nil {
		h.byName = map[string]*Host{}
	}
	h.byName[name] = host
	h.Hosts = append(h.Hosts, host)
	return host
}

// waiting says that hosts take part in a play.
func (h *History) waiting(e event.Event, play string) {
	for _, name := range e.Hosts {
		host := h.host(name, e.Time)
		host.State, host.Since, host.Play, host.Batch, host.Batches, host.Failure = HostWaiting, e.Time, play, 0, 0, nil
		host.ByHand = false
	}
}

func (h *History) startBatch(l *lane, e event.Event) {
	for _, host := range h.Hosts {
		if host.lane == e.Lane {
			host.settle(e.Time)
		}
	}
	l.task = nil
	for _, name := range e.Hosts {
		host := h.host(name, e.Time)
		host.State, host.Since, host.Play, host.Batch, host.Batches, host.Confirm = HostWorking, e.Time, l.play, e.Batch, e.Batches, e.Confirm
		host.lane = e.Lane
		delete(h.undoing, name)
	}
}

// settle ends the host's batch, as a run that goes on has ended it: who has not failed has passed.
func (h *Host) settle(now time.Time) {
	if h.State == HostWorking {
		h.State, h.Since, h.Confirm = HostPassed, now, 0
	}
}

func (l *lane) itemDone(e event.Event) {
	if e.Status != event.Failed && e.Status != event.Unreachable {
		return
	}
	if l.failed == nil {
		l.failed = map[string][]event.Event{}
	}
	l.failed[e.Host] = append(l.failed[e.Host], e)
}

func (h *History) hostDone(l *lane, e event.Event) {
	host := h.host(e.Host, e.Time)
	step := &Step{Batch: host.Batch, Batches: host.Batches, Event: e, Items: l.failed[e.Host]}
	if l.task != nil {
		step.Task = l.task.Task
		l.task.done(e)
	}
	host.Last = step
	host.Seconds += e.Seconds
	h.count(host, e)
	if e.Rescued {
		return
	}
	switch e.Status {
	case event.Failed:
		host.State, host.Since, host.Failure = HostFailed, e.Time, step
	case event.Unreachable:
		host.State, host.Since, host.Failure = HostLost, e.Time, step
	}
}

func (h *History) count(host *Host, e event.Event) {
	status := e.Status
	if e.Rescued {
		status = event.Rescued
	}
	changed, _ := e.Result["changed"].(bool)
	host.Counts.Add(status, changed)
}

// done takes in that a host is done with the task.
func (t *Timing) done(e event.Event) {
	t.Outcomes[e.Host] = e.Status
	t.Seconds = e.Time.Sub(t.Started).Seconds()
	if t.Slowest == "" || e.Seconds > t.Longest {
		t.Slowest, t.Longest = e.Host, e.Seconds
	}
}

func (h *History) included(l *lane, e event.Event) {
	for _, name := range e.Hosts {
		host := h.host(name, e.Time)
		if l.task == nil {
			continue
		}
		host.Last = &Step{Task: l.task.Task, Batch: host.Batch, Batches: host.Batches, Event: event.Event{Time: e.Time, Kind: e.Kind, Host: name, Status: event.OK}}
		l.task.done(host.Last.Event)
		if strings.HasSuffix(l.task.Action, "include_tasks") { // as the run counts
			host.Counts.OK++
		}
	}
}

// confirmed takes in that a host was told that it stays as it is, or could not be.
func (h *History) confirmed(l *lane, e event.Event) {
	host := h.host(e.Host, e.Time)
	if e.Status == event.OK {
		host.Confirm = 0
		return
	}
	state := HostFailed
	if e.Status == event.Unreachable {
		state = HostLost
	}
	e.Result = map[string]any{"msg": e.Message}
	step := &Step{Task: Task{Play: l.play, Name: "confirm", Started: e.Time}, Batch: host.Batch, Batches: host.Batches, Event: e}
	host.State, host.Since, host.Failure = state, e.Time, step
	host.Counts.Add(e.Status, false)
}

// undone takes in that a host was taken back. One that only did something in the place of others stays where it stands when that went well.
func (h *History) undone(e event.Event) {
	host := h.host(e.Host, e.Time)
	host.Undo = e.Message
	if e.Status == event.OK || e.Status == event.Changed {
		host.Confirm = 0
	}
	switch {
	case e.Status == event.Failed || e.Status == event.Unreachable:
		host.State, host.Since = HostHalfDone, e.Time
	case h.undoing[e.Host]:
		if host.State != HostUndone { // else it was back before
			host.ByHand, h.back = false, append(h.back, host)
		}
		host.State, host.Since = HostUndone, e.Time
	}
}

// End says that all events there are have been given. When the run is over, who was at work has stopped; what the plan names and no event does
// was not reached.
func (h *History) End(plan []Play, over bool) {
	for _, host := range h.Hosts {
		if over && host.State == HostWorking {
			host.State = HostStopped
		}
	}
	for i, p := range plan {
		for _, name := range p.Hosts {
			host := h.byName[name]
			if host == nil {
				host = h.host(name, time.Time{})
				host.Play = p.Name
			} else if over && i >= h.Plays && h.Plays > 0 && host.State == HostPassed {
				host.State, host.Play, host.Batch, host.Batches = HostWaiting, p.Name, 0, 0
			}
		}
	}
}

// Counts are the lines of the recap, by host, of those that did anything.
func (h *History) Counts() map[string]event.Counts {
	counts := map[string]event.Counts{}
	for _, host := range h.Hosts {
		if host.Counts != (event.Counts{}) {
			counts[host.Name] = host.Counts
		}
	}
	return counts
}
