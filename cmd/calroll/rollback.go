package main

import (
	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/store"
)

func newRollbackCommand() *cobra.Command {
	f := &connectFlags{}
	var force bool
	var output string
	cmd := &cobra.Command{
		Use:   "rollback RUN",
		Short: "Take back what a run changed",
		Long: "Takes back everything that a run changed on its hosts, the newest change first. RUN is a run's id, the start or end of\n" +
			"one, or \"last\". What somebody else changed since is refused by name; --force takes it back all the same.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return rollback(cmd, f, args[0], force, output) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "take back also what somebody else changed since")
	cmd.Flags().StringVarP(&output, "output", "o", "auto", "auto, plain, live or json")
	return cmd
}

func rollback(cmd *cobra.Command, f *connectFlags, id string, force bool, output string) error {
	s, err := openStore()
	if err != nil {
		return err
	}
	meta, err := s.Load(id)
	if err != nil {
		return err
	}
	if len(f.inventory) == 0 {
		f.inventory = meta.Inventory
	}
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	o.Env = newEnv(".", o.Inventory)
	o.Loader = newLoader(o.Env, nil)
	sink, done, err := printer(output, f.verbosity, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	o.Sink, o.Store = sink, s
	summary, err := runner.Rollback(cmd.Context(), o, runner.RollbackOptions{Run: meta, Limit: f.limit, Force: force})
	done()
	if summary.Exit != runner.ExitOK || err != nil {
		return exitError{summary.Exit, err}
	}
	if f.limit == "" {
		return s.SetState(meta.ID, store.RolledBack)
	}
	return nil
}
