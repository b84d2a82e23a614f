package testenv

import (
	"context"
	"os"
)

// Tool is a program that has to be on this machine, or a File where it is no program, and the Debian package that brings it.
type Tool struct{ Program, Package, File string }

// missing is what has to be looked for, "" when it is there.
func (t Tool) missing() string {
	if t.File == "" {
		return t.Program
	}
	if _, err := os.Stat(t.File); err == nil {
		return ""
	}
	return t.File
}

// Prepare gets this machine ready to start labs: it installs tools and the Docker engine where they are missing, and builds the hosts'
// image. Installing needs root and says what it does; without root the error says what to install.
func Prepare(ctx context.Context, progress func(line string), tools ...Tool) error {
	e, err := openEngine(ctx, progress)
	if err != nil {
		return err
	}
	for _, t := range tools {
		if what := t.missing(); what != "" {
			if err := e.needProgram(ctx, what, t.Package); err != nil {
				return err
			}
		}
	}
	return e.prepareImage(ctx)
}
