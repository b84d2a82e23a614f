package node

import (
	"context"
	"strings"

	"github.com/calroll/calroll/tasks"
)

var _ = register("shell", func() tasks.Module { return &Shell{} })

// Shell runs a command line by a shell of the target.
type Shell struct {
	Cmd        string     `arg:"cmd,freeform,required" doc:"the command line"`
	Executable tasks.Path `arg:"executable,default=/bin/sh" doc:"the shell"`
	commandArgs

	StripEmptyEnds bool `arg:"strip_empty_ends,default=yes" doc:"take empty lines off the end of stdout and stderr"`
}

// Run runs the command line, unless creates or removes say otherwise.
func (m *Shell) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	if strings.TrimSpace(m.Cmd) == "" {
		return noCommand(), nil
	}
	c := call{commandArgs: m.commandArgs, argv: []string{m.Executable.Expand(), "-c", m.Cmd}, shown: m.Cmd, strip: m.StripEmptyEnds}
	return c.run(ctx, sys)
}
