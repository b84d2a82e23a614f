package testenv

import "context"

// Tool is a program that has to be on this machine, and the Debian package that brings it.
type Tool struct{ Program, Package string }

// Prepare gets this machine ready to start labs: it installs tools and the Docker engine where they are missing, and builds the hosts'
// image. Installing needs root and says what it does; without root the error says what to install.
func Prepare(ctx context.Context, progress func(line string), tools ...Tool) error {
	e, err := openEngine(ctx, progress)
	if err != nil {
		return err
	}
	for _, t := range tools {
		if err := e.needProgram(ctx, t.Program, t.Package); err != nil {
			return err
		}
	}
	return e.prepareImage(ctx)
}
