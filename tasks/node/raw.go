package node

import (
	"context"

	"github.com/calroll/calroll/tasks"
)

var _ = register("raw", func() tasks.Module { return &Raw{} })

// Raw runs a command line and hands its output on as it is. Under Ansible it needs no Python; here nothing does, and it is
// a plainer shell.
type Raw struct {
	Cmd        string     `arg:"cmd,freeform,required" doc:"the command line"`
	Executable tasks.Path `arg:"executable,default=/bin/sh" doc:"the shell"`
}

// Run runs the command line.
func (m *Raw) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	var r tasks.Result
	if sys.Check() {
		r.Skipped = true
		return r, nil
	}
	out, err := sys.Exec(ctx, tasks.Cmd{Argv: []string{m.Executable.Expand(), "-c", m.Cmd}, Alters: true})
	if err != nil {
		return r, err
	}
	setOutput(&r, validText(out.Stdout), validText(out.Stderr))
	r.Set("rc", out.Code)
	r.Changed = true
	if out.Code != 0 {
		r.Failed, r.Msg = true, "non-zero return code"
	}
	return r, nil
}
