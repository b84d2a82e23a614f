package runner

import (
	"context"
	"maps"
	"slices"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
)

// endUndos ends what undos of earlier processes of the run have left half done, because the process or the host died over it: from there nothing can be
// gone on with. A host where that does not work takes no part.
func (r *run) endUndos(ctx context.Context) {
	if r.resumed == nil {
		return
	}
	asked, err := limited(r.o)
	if err != nil {
		return // the plays say so
	}
	bySince := map[int64][]string{}
	for _, h := range asked {
		if since, half := r.resumed.Record.Undoing[h.Name]; half {
			bySince[since] = append(bySince[since], h.Name)
		}
	}
	for _, since := range slices.Backward(slices.Sorted(maps.Keys(bySince))) { // the newest first
		hosts := bySince[since]
		r.emit(event.Event{Kind: event.UndoStart, Hosts: hosts})
		u := undoing{run: r.id, downTo: since, of: hosts, patience: newPatience(ctx)}
		untouched, broken, _ := r.undoHosts(context.WithoutCancel(ctx), hosts, u)
		left := slices.Concat(untouched, broken)
		back := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return slices.Contains(left, h) })
		r.resumed.Record.TakenBack(back, since)
		r.note(store.Line{Undone: back, Since: since})
		for _, h := range left {
			r.gone[h] = true
			r.failed = r.failed || r.open[h] != event.Unreachable
		}
	}
}
