package node

import (
	"context"

	"github.com/calroll/calroll/tasks"
)

var _ = register("ping", func() tasks.Module { return &Ping{} })

// Ping answers, which shows that the host can be worked on.
type Ping struct {
	Data string `arg:"data,default=pong" doc:"what to answer; crash fails"`
}

// Run answers.
func (m *Ping) Run(context.Context, *tasks.Sys) (tasks.Result, error) {
	var r tasks.Result
	if m.Data == "crash" {
		return r, fail("boom")
	}
	r.Set("ping", m.Data)
	return r, nil
}
