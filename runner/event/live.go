package event

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Live is Plain on a terminal, with a line at the foot that says which hosts the running task is still busy on, and for how long.
// Close takes the line away.
type Live struct {
	plain *Plain
	to    io.Writer
	width int

	mu    sync.Mutex // guards what follows, and the terminal
	busy  map[string]time.Time
	order []string
	task  string
	soaks map[string]bool // hosts that are busy until their soak ends
	foot  bool
	done  chan struct{}
}

// refreshEvery is how often the foot's seconds move on.
const refreshEvery = 200 * time.Millisecond

// NewLive is a printer to the terminal w of so many columns.
func NewLive(w io.Writer, columns, verbosity int) *Live {
	l := &Live{to: w, width: columns, busy: map[string]time.Time{}, soaks: map[string]bool{}, done: make(chan struct{})}
	l.plain = &Plain{to: w, Verbosity: verbosity, Color: true}
	go l.refresh()
	return l
}

// Close removes the foot and stops refreshing it.
func (l *Live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
	close(l.done)
}

// Emit implements Sink.
func (l *Live) Emit(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
	l.follow(e)
	l.plain.Emit(e)
	l.draw()
}

// follow keeps track of the hosts that are busy.
func (l *Live) follow(e Event) {
	switch e.Kind {
	case TaskStart:
		if len(l.soaks) == 0 {
			l.task = e.Task
		}
	case UndoStart, ConfirmStart:
		l.task = map[Kind]string{UndoStart: "rollback", ConfirmStart: "confirm"}[e.Kind]
		for _, h := range e.Hosts {
			l.start(h, e.Time)
		}
	case SoakStart:
		l.task = "soak"
		for _, h := range e.Hosts {
			l.soaks[h] = true
			l.start(h, e.Time)
		}
	case HostStart:
		if e.Task != "" && len(l.soaks) == 0 {
			l.task = e.Task
		}
		l.start(e.Host, e.Time)
	case SoakEnd:
		for _, h := range e.Hosts {
			delete(l.soaks, h)
			delete(l.busy, h)
		}
	case Prompt, Halt: // nothing may be drawn over what the user types
		clear(l.soaks)
		clear(l.busy)
	case HostDone, UndoHost, ConfirmHost:
		if !l.soaks[e.Host] {
			delete(l.busy, e.Host)
		}
	case Recap:
		clear(l.busy)
	}
}

func (l *Live) start(host string, at time.Time) {
	if _, ok := l.busy[host]; !ok {
		l.order = append(l.order, host)
	}
	l.busy[host] = at
}

func (l *Live) refresh() {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
			l.mu.Lock()
			l.clear()
			l.draw()
			l.mu.Unlock()
		}
	}
}

func (l *Live) clear() {
	if l.foot {
		_, _ = io.WriteString(l.to, "\r\x1b[K")
		l.foot = false
	}
}

func (l *Live) draw() {
	if len(l.busy) == 0 {
		l.order = nil
		return
	}
	var names []string
	oldest := time.Now()
	for _, h := range l.order {
		if at, ok := l.busy[h]; ok {
			names = append(names, h)
			if at.Before(oldest) {
				oldest = at
			}
		}
	}
	text := fmt.Sprintf("%s: %d busy, %.1fs: %s", l.task, len(names), time.Since(oldest).Seconds(), strings.Join(names, " "))
	if runes := []rune(text); len(runes) > l.width-1 && l.width > 4 {
		text = string(runes[:l.width-4]) + "..."
	}
	_, _ = io.WriteString(l.to, cyan+text+reset)
	l.foot = true
}
