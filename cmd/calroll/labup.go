package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/site"
)

// startSite gives a lab its etcd and its file server, which outlive this program.
func startSite(ctx context.Context, lab *testenv.Lab, progress func(string)) (*site.Site, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot start the file server: %w", err)
	}
	return site.Start(ctx, lab, site.Options{ServerCommand: []string{exe, "lab", "serve", "%s"}, Progress: progress})
}

// newLabServeCommand is the file server of a lab as a process of its own.
func newLabServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "serve ADDRESS",
		Short:  "Serve release files as upstream does",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sets, err := site.Build(cmd.Context(), func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) })
			if err != nil {
				return err
			}
			server, err := artifacts.Serve(args[0], sets...)
			if err != nil {
				return err
			}
			<-cmd.Context().Done()
			return server.Close()
		},
	}
}

// progressTo prints what is being built, a line each.
func progressTo(w io.Writer) func(string) {
	return func(line string) { fmt.Fprintln(w, line) }
}
