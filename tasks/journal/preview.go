package journal

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/calroll/calroll/tasks"
)

// Preview tells what an Undo with the same options would come to now, in the order in which it would go. It alters nothing and takes no lock, so
// what it tells of a run under way is of the moment. Undo steps of commands, which nobody can know before, are told as restored.
func Preview(ctx context.Context, dir, run string, o UndoOptions, kinds tasks.Kinds) (Report, error) {
	report := Report{Run: run}
	r, entries, err := read(dir, run)
	if errors.Is(err, fs.ErrNotExist) {
		report.Unknown = true
		return report, nil
	}
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
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Task < o.DownTo })
	p := &preview{kinds: kinds, force: o.Force, now: map[string]Entry{}, fired: map[string]bool{}}
	for _, e := range slices.Backward(entries) {
		if held := p.restore(ctx, e); held && !o.Force {
			break
		}
	}
	for _, e := range entries {
		p.refresh(e)
	}
	report.Items = p.items
	return report, nil
}

// preview is one Preview under way.
type preview struct {
	kinds    tasks.Kinds
	force    bool
	items    []Item
	now      map[string]Entry // by what they are about, the newer records that would be restored by then
	touched  []string         // keys of which a record of some kind would be restored
	fired    map[string]bool
	restored bool
}

// restore tells what would become of a record; held means that nothing older would be taken back.
func (p *preview) restore(ctx context.Context, e Entry) (held bool) {
	kind := p.kinds[e.Kind]
	if _, ok := kind.(tasks.Refresher); ok || settled(e.Outcome) {
		p.restored = p.restored || e.Outcome == tasks.Restored || e.Outcome == tasks.Forced
		return false
	}
	out, err := p.outcome(ctx, kind, e)
	p.note(e, out, err)
	_, guard := kind.(tasks.Guard)
	return guard && !settled(out)
}

func (p *preview) outcome(ctx context.Context, kind tasks.Restorer, e Entry) (tasks.Outcome, error) {
	if kind == nil {
		return tasks.Undoable, errors.New("this program does not know records of this kind")
	}
	newer, known := p.now[e.String()]
	now := newer.Was
	if known && (newer.After == e.After || p.kinds.StandIn(newer.Before, e.Before) != "") || !known && p.isTouched(e.Key) {
		now = e.After // a command, which has no state; or newer records about it, or about what is in it, have been taken back by then
	} else if !known {
		var err error
		if now, err = kind.State(ctx, e.Before); err != nil {
			return tasks.Undoable, err
		}
	}
	_, guard := kind.(tasks.Guard)
	switch {
	case guard && now == e.After:
		return tasks.Undoable, kind.Restore(ctx, e.Before, tasks.Kept{}, false) // a guard's Restore alters nothing: it says why
	case now != e.After && now == e.Was:
		return tasks.Unchanged, nil
	case now != e.After && !p.force:
		return tasks.Foreign, errors.New("somebody else changed it since")
	}
	p.now[e.String()], p.touched, p.restored = e, append(p.touched, e.Key), true
	if now != e.After {
		return tasks.Forced, nil
	}
	return tasks.Restored, nil
}

// isTouched tells whether something about a thing, or about what is below it, would be restored before.
func (p *preview) isTouched(key string) bool {
	return slices.ContainsFunc(p.touched, func(k string) bool { return k == key || strings.HasPrefix(k, key+"/") })
}

// refresh tells of a refresh that would be fired.
func (p *preview) refresh(e Entry) {
	key := e.Kind + " " + e.Key + " " + string(e.Meta)
	if _, ok := p.kinds[e.Kind].(tasks.Refresher); !ok || settled(e.Outcome) || p.fired[key] || !p.restored {
		return
	}
	p.fired[key] = true
	p.note(e, tasks.Fired, nil)
}

func (p *preview) note(e Entry, out tasks.Outcome, err error) {
	i := Item{Seq: e.Seq, Task: e.Task, Kind: e.Kind, Key: e.Key, Outcome: out}
	if err != nil {
		i.Error = err.Error()
	}
	p.items = append(p.items, i)
}
