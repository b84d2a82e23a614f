package node

import (
	"context"

	"github.com/calroll/calroll/tasks"
)

var _ = register("undo_guard", func() tasks.Module { return &UndoGuard{} })

// UndoGuard is the module undo_guard: a point of no return. It alters nothing. When the run is taken back, what it did before this task is taken back
// only if argv exits 0 then, and never when there is no argv; `calroll rollback --force` goes past it.
type UndoGuard struct {
	Reason string   `arg:"reason,required" doc:"why there is no way back, told to whoever tries"`
	Argv   []string `arg:"argv" doc:"a program and its arguments that exits 0 as long as there is a way back; without it there is none from here on"`
}

// Run puts the point down.
func (m *UndoGuard) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	if sys.Check() {
		return tasks.Result{}, nil
	}
	return tasks.Result{}, sys.Guard(ctx, m.Reason, m.Argv)
}
