package runner

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// taken is what has come back on one host so far, as every identity.
type taken struct {
	items []takenItem
	errs  map[string]error        // by identity, why the last attempt as it broke off
	notes map[string]journal.Note // likewise, what the host did by itself
	begun bool                    // something may have been taken back: a host that refuses to begin stands where it stood
}

type takenItem struct {
	journal.Item
	as string
}

// add notes what an undo came to. What was tried before counts as it is now.
func (t *taken) add(w way, report journal.Report, err error) {
	as := w.journalName()
	for _, i := range report.Items {
		t.items = slices.DeleteFunc(t.items, func(o takenItem) bool { return o.as == as && o.Seq == i.Seq && o.Kind == i.Kind })
		t.items = append(t.items, takenItem{i, as})
	}
	if t.errs == nil {
		t.errs, t.notes = map[string]error{}, map[string]journal.Note{}
	}
	t.errs[as] = err
	if report.Note != (journal.Note{}) {
		t.notes[as] = report.Note
	}
}

// err is what the attempts broke off with; those that did so for the same reason say it once.
func (t *taken) err() error {
	var all []error
	for _, as := range slices.Sorted(maps.Keys(t.errs)) {
		err := t.errs[as]
		if err != nil && !slices.ContainsFunc(all, func(o error) bool { return o.Error() == err.Error() }) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// unreachable tells that an attempt broke off because the host was not reached.
func (t *taken) unreachable() bool {
	for _, err := range t.errs {
		if isLost(err) {
			return true
		}
	}
	return false
}

// count is how many items have one of these outcomes.
func (t *taken) count(outcomes ...tasks.Outcome) int {
	n := 0
	for _, i := range t.items {
		if slices.Contains(outcomes, i.Outcome) {
			n++
		}
	}
	return n
}

// restored is how many states are back, those included that the host has taken back by itself.
func (t *taken) restored() int { return t.now() + t.byItself() }

// now is how many of them this undo has restored.
func (t *taken) now() int { return t.count(tasks.Restored, tasks.Forced) }

func (t *taken) byItself() int {
	n := 0
	for _, note := range t.notes {
		n += note.Restored
	}
	return n
}

// noted is what hosts did by themselves, to be added to a text.
func (t *taken) noted() string {
	var all journal.Note
	for _, n := range t.notes {
		all = journal.Note{Restored: all.Restored + n.Restored, Lost: all.Lost || n.Lost, Within: max(all.Within, n.Within)}
	}
	if text := all.String(); text != "" {
		return "; " + text
	}
	return ""
}

// refused lists what was not taken back, a line each.
func (t *taken) refused() string {
	var lines strings.Builder
	for _, i := range t.items {
		if i.Outcome == tasks.Foreign || i.Outcome == tasks.Undoable {
			fmt.Fprintf(&lines, "\n    %s %s: %s", i.Kind, i.Key, i.Error)
		}
	}
	return lines.String()
}

// quiet tells whether there is nothing to tell.
func (t *taken) quiet() bool { return t.err() == nil && t.restored() == 0 && t.refused() == "" }

// summary is the line about a host, with the command to type when it could not be reached.
func (t *taken) summary(host string, u undoing) (event.Status, string) {
	err, refused := t.err(), t.refused()
	text := fmt.Sprintf("%d restored, %d as before, %d refreshed", t.now(), t.count(tasks.Unchanged), t.count(tasks.Fired))
	switch {
	case t.unreachable() && u.preview:
		return event.Unreachable, "it cannot be asked: " + err.Error()
	case t.unreachable():
		return event.Unreachable, fmt.Sprintf("its run stays open: %v; when it answers again: calroll rollback %s --limit %s", err, u.run, host)
	case err != nil:
		return event.Failed, "its run stays open: " + err.Error()
	case u.preview:
		return t.preview()
	case refused != "":
		return event.Failed, text + t.noted() + ", not taken back:" + refused
	case t.restored() == 0:
		return event.OK, "nothing to take back" + t.noted()
	case t.now() == 0:
		return event.Changed, strings.TrimPrefix(t.noted(), "; ")
	}
	return event.Changed, text + t.noted()
}

// previewWords say what would become of a record.
var previewWords = map[tasks.Outcome]string{tasks.Restored: "would be restored", tasks.Forced: "would be restored, although somebody else changed it since",
	tasks.Unchanged: "is as before", tasks.Fired: "would be fired again", tasks.Foreign: "would be refused", tasks.Undoable: "cannot be taken back"}

// preview is what an undo would do on a host, a line for each record.
func (t *taken) preview() (event.Status, string) {
	status := event.OK
	var b strings.Builder
	fmt.Fprintf(&b, "%d would be restored, %d as before, %d refreshed, %d refused", t.now(), t.count(tasks.Unchanged), t.count(tasks.Fired),
		t.count(tasks.Foreign, tasks.Undoable))
	for _, i := range t.items {
		fmt.Fprintf(&b, "\n    task %d: %s %s %s", i.Task, i.Kind, i.Key, previewWords[i.Outcome])
		switch i.Outcome {
		case tasks.Foreign, tasks.Undoable:
			status = event.Failed
			b.WriteString(": " + i.Error)
		case tasks.Restored, tasks.Forced:
			if status == event.OK {
				status = event.Changed
			}
		}
	}
	if len(t.items) == 0 {
		return event.OK, "nothing to take back" + t.noted()
	}
	return status, b.String()
}
