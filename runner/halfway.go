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
		half, is := r.resumed.Record.Undoing[h.Name]
		if is {
			bySince[half.Since] = append(bySince[half.Since], h.Name)
		}
		for _, by := range half.InPlace {
			r.delegated(h.Name, by)
		}
	}
	for _, since := range slices.Backward(slices.Sorted(maps.Keys(bySince))) { // the newest first
		hosts := bySince[since]
		r.emit(event.Event{Kind: event.UndoStart, Hosts: hosts})
		u := undoing{run: r.id, downTo: since, of: hosts, patience: newPatience(ctx)}
		back, _, _ := r.undoAll(context.WithoutCancel(ctx), hosts, u)
		r.resumed.Record.TakenBack(back, since)
		r.note(store.Line{Undone: back, Since: since})
		for _, h := range hosts {
			r.gone[h] = r.gone[h] || !slices.Contains(back, h)
		}
		r.failed = r.failed || len(back) < len(hosts) && !r.lost
	}
}
