package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/store"
)

// rollbackFlags are the flags of calroll rollback.
type rollbackFlags struct {
	connectFlags
	force, check bool
	to           string
	serial       int
	output       string
}

func newRollbackCommand() *cobra.Command {
	f := &rollbackFlags{}
	cmd := &cobra.Command{
		Use:   "rollback RUN",
		Short: "Take back what a run changed",
		Long: "Takes back everything that a run changed on its hosts, or all after a task (--to). RUN is a run's id, the start or end of one, or\n" +
			"\"last\". Hosts go back in the reverse of the order in which they were rolled, and no more at a time than went together then;\n" +
			"each goes back as a whole, and what was restarted is restarted again when all its states are back. What somebody else\n" +
			"changed since is refused by name; --force takes it back all the same.\n\n" +
			"A run of another bastion is found with -i INVENTORY: its hosts are asked for it. They all go back at once then, unless --serial\n" +
			"says otherwise.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.rollback(cmd, args[0]) },
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.force, "force", false, "take back also what somebody else changed since")
	fl.BoolVarP(&f.check, "check", "C", false, "take nothing back; list what would be, task by task")
	fl.BoolVar(&f.check, "list", false, "the same as --check")
	fl.StringVar(&f.to, "to", "", "take back what came after this task: its number, or its name")
	fl.IntVar(&f.serial, "serial", 0, "take back at most so many hosts at a time")
	fl.StringVarP(&f.output, "output", "o", "auto", "auto, plain, live or json")
	return cmd
}

func (f *rollbackFlags) rollback(cmd *cobra.Command, id string) error {
	s, err := openStore(cmd.Context())
	if err != nil {
		return err
	}
	rb, err := f.find(cmd, s, id)
	if err != nil {
		return err
	}
	if rb.Run.Check { // no mistake: a script may take all runs back
		fmt.Fprintf(cmd.ErrOrStderr(), "run %s was a check, and has changed nothing: there is nothing to take back\n", rb.Run.ID)
		return nil
	}
	if rb.To, err = rb.Course.Task(f.to); err != nil {
		return err
	}
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	o.Env = newEnv(".", o.Inventory)
	o.Loader = newLoader(o.Env, nil)
	sink, done, err := printer(f.output, f.verbosity, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	o.Sink, o.Store = sink, s
	summary, err := runner.Rollback(cmd.Context(), o, rb)
	done()
	if summary.Exit != runner.ExitOK || err != nil {
		return exitError{max(summary.Exit, runner.ExitError), err}
	}
	return nil
}

// find finds the run in the store, or leaves it to the hosts of the inventory.
func (f *rollbackFlags) find(cmd *cobra.Command, s *store.Store, id string) (runner.RollbackOptions, error) {
	rb := runner.RollbackOptions{Limit: f.limit, Serial: f.serial, Force: f.force, Preview: f.check, Course: &runner.Course{}}
	meta, err := s.Load(id)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(f.inventory) > 0:
		rb.Ask = id
		return rb, nil
	case errors.Is(err, fs.ErrNotExist):
		return rb, fmt.Errorf("%w; a run of another bastion is found with -i INVENTORY", err)
	case err != nil:
		return rb, err
	case meta.Check:
		rb.Run = meta
		return rb, nil
	}
	if len(f.inventory) == 0 {
		f.inventory = meta.Inventory
	}
	if rb.Run, err = f.as(cmd, meta); err != nil {
		return rb, fmt.Errorf("cannot take run %s back: %w", meta.ID, err)
	}
	if err := s.Events(meta.ID, rb.Course); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rb, err
	}
	return rb, nil
}

// as connects as the run did, as far as nothing else is said now. Which hosts it was limited to does not matter: it is taken back on all that it worked on.
func (f *rollbackFlags) as(cmd *cobra.Command, meta store.Meta) (store.Meta, error) {
	given := cmd.Flags()
	for i := range meta.Identities {
		if given.Changed("user") {
			meta.Identities[i].Login = ""
		}
		if given.Changed("connection") {
			meta.Identities[i].Connection = ""
		}
	}
	flags := maps.Clone(meta.Command.Flags)
	maps.DeleteFunc(flags, func(name string, _ []string) bool { return !slices.Contains(loginFlags, name) })
	sameCluster(cmd, meta)
	return meta, restoreFlags(given, flags, meta.Dir)
}

// loginFlags are those that say how hosts are reached.
var loginFlags = []string{"user", "private-key", "connection", "timeout", "connect-retries", "ssh-common-args", "host-key-checking", "become", "become-method",
	"become-user", "ask-pass", "ask-become-pass", "connection-password-file", "become-password-file"}
