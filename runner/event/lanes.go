package event

import (
	"maps"
	"slices"
)

// PerLane keeps something apart for each of the plays that go at the same time, for who follows the events of a run. The zero value is ready.
type PerLane[T any] struct{ of map[int]*T }

// Of is what is kept for a lane.
func (p *PerLane[T]) Of(lane int) *T {
	if p.of == nil {
		p.of = map[int]*T{}
	}
	if p.of[lane] == nil {
		p.of[lane] = new(T)
	}
	return p.of[lane]
}

// lanes puts the events of plays that go at the same time into an order in which they can be read one after the other: a task of one play is held until
// it is done on all hosts, and comes under its play's headings again when another play was shown before it. Events of a play that goes alone pass.
type lanes struct {
	heads map[int][]Event // of each play: its start, that of its batch, and that of a rollback or confirmation under way
	held  map[int][]Event // the task that it carries out, with what came of it so far
	shown int
}

// order gives the events to show now that e has come.
func (l *lanes) order(e Event) []Event {
	switch {
	case e.Lane > 0:
		return l.ofPlay(e)
	case len(l.heads) == 0:
	case e.Kind == PlayStart || e.Kind == Recap || e.Kind == RunEnd:
		var out []Event
		for _, lane := range slices.Sorted(maps.Keys(l.heads)) {
			out = append(out, l.release(lane)...)
		}
		*l = lanes{}
		return append(out, e)
	}
	return []Event{e}
}

func (l *lanes) ofPlay(e Event) []Event {
	switch e.Kind {
	case PlayStart:
		if l.heads == nil {
			l.heads, l.held = map[int][]Event{}, map[int][]Event{}
		}
		l.heads[e.Lane] = []Event{e}
		return nil
	case PlayHosts, HostStart:
		return nil
	case BatchStart:
		out := l.release(e.Lane)
		l.heads[e.Lane] = append(l.heads[e.Lane][:1:1], e)
		if l.shown == e.Lane {
			return append(out, e)
		}
		return out
	case TaskStart:
		out := l.release(e.Lane)
		l.held[e.Lane] = []Event{e}
		l.heads[e.Lane] = slices.DeleteFunc(l.heads[e.Lane], ofBatchEnd)
		return out
	case UndoStart, ConfirmStart:
		out := append(l.release(e.Lane), l.turnTo(e.Lane)...)
		l.heads[e.Lane] = append(slices.DeleteFunc(l.heads[e.Lane], ofBatchEnd), e)
		return append(out, e)
	case ItemDone, HostDone, Retry, Warning:
		if l.held[e.Lane] != nil {
			l.held[e.Lane] = append(l.held[e.Lane], e)
			return nil
		}
	case TaskEnd:
		return l.release(e.Lane)
	}
	out := l.release(e.Lane)
	return append(append(out, l.turnTo(e.Lane)...), e)
}

// ofBatchEnd tells that an event is a heading of what is done when the tasks of a batch are over.
func ofBatchEnd(e Event) bool { return e.Kind == UndoStart || e.Kind == ConfirmStart }

// release gives what is held of a play.
func (l *lanes) release(lane int) []Event {
	held := l.held[lane]
	delete(l.held, lane)
	if len(held) == 0 {
		return nil
	}
	return append(l.turnTo(lane), held...)
}

// turnTo gives the headings of a play unless it is the one that is shown.
func (l *lanes) turnTo(lane int) []Event {
	if l.shown == lane {
		return nil
	}
	l.shown = lane
	return slices.Clone(l.heads[lane])
}
