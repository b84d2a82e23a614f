package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/store"
)

func newResumeCommand() *cobra.Command {
	f := &runFlags{}
	var how runner.Resumption
	cmd := &cobra.Command{
		Use:   "resume RUN",
		Short: "Go on with a run that failed, was stopped or was killed",
		Long: "Goes on with a run where each of its hosts stood. What was done is not done again: its results, registered variables and\n" +
			"notified handlers are there as if the run had never stopped. Hosts that failed, were lost or were taken back begin where they\n" +
			"have to. The flags are those of the run; a flag given here wins. Values of --extra-vars are not stored: give them again.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.resume(cmd, args[0], how) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&how.AcceptChanges, "accept-changes", false, "go on although playbooks, inventory or variables have changed")
	cmd.Flags().BoolVar(&how.CatchUp, "catch-up", false, "take in hosts that were absent when the run began")
	cmd.Flags().BoolVar(&how.Recheck, "recheck", false, "run again what was done too, to see that it still holds")
	return cmd
}

func (f *runFlags) resume(cmd *cobra.Command, id string, how runner.Resumption) error {
	s, err := openStore(cmd.Context())
	if err != nil {
		return err
	}
	meta, err := s.Load(id)
	if err != nil {
		return err
	}
	switch {
	case meta.Check:
		return fmt.Errorf("cannot go on with run %s: it was a check, and changed nothing", meta.ID)
	case meta.State == store.Running && !meta.Elsewhere():
		return fmt.Errorf("cannot go on with run %s: it is still running, as process %d", meta.ID, meta.PID)
	}
	if err := f.as(cmd, meta); err != nil {
		return fmt.Errorf("cannot go on with run %s: %w", meta.ID, err)
	}
	o, err := f.runOptions(cmd, meta.Playbooks)
	if err != nil {
		return err
	}
	how.Run = meta
	if how.Record, err = s.Record(meta.ID); err != nil {
		return err
	}
	o.Store, o.Resume = s, &how
	return f.carryOut(cmd, o)
}

// as sets the flags that the run had and that are not given now, and works where it was started.
func (f *runFlags) as(cmd *cobra.Command, meta store.Meta) error {
	if state := meta.Command.Flags[stateFlag]; state != nil && shared(cmd.Context()) == nil {
		return fmt.Errorf("it shared its state with other bastions: give --state %s again", state[0])
	}
	given, err := extraVars(f.extra)
	if err != nil {
		return err
	}
	if err := sameNames(given, meta.Command.Extra); err != nil {
		return err
	}
	for i, name := range f.inventory {
		f.inventory[i] = absolute(name)
	}
	for i, e := range f.extra {
		if file, ok := strings.CutPrefix(e, "@"); ok {
			f.extra[i] = "@" + absolute(file)
		}
	}
	if dir := meta.Dir; dir != "" {
		if err := os.Chdir(dir); err != nil {
			return fmt.Errorf("the folder it was started in: %w", err)
		}
	}
	return restoreFlags(cmd.LocalFlags(), meta.Command.Flags)
}

func restoreFlags(fl *pflag.FlagSet, flags map[string][]string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if fl.Lookup(name) == nil || fl.Changed(name) && name != extraFlag {
			continue
		}
		for _, v := range flags[name] {
			errs = append(errs, fl.Set(name, v))
		}
	}
	return errors.Join(errs...)
}

// absolute is a name of a file that stays right in another folder; a list of hosts is none.
func absolute(name string) string {
	if strings.Contains(name, ",") {
		return name
	}
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// sameNames finds variables that the run had from its command line and that are not given now.
func sameNames(given *value.Vars, wanted []string) error {
	var missing []string
	for _, name := range wanted {
		if _, ok := given.Dict().Get(name); !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("it had values for %s on its command line, which are not stored: give them again with --extra-vars", strings.Join(missing, ", "))
}

const (
	extraFlag = "extra-vars"
	stateFlag = "state"
)

// notStored are flags that say how the screen looks, or that nothing is to be done.
var notStored = []string{extraFlag, "output", "verbose", "list-tasks", "list-tags", "list-hosts", "syntax-check", "check"}

// command is how the run was asked for.
func (f *runFlags) command(cmd *cobra.Command) store.Command {
	c := store.Command{Flags: map[string][]string{}}
	cmd.Flags().Visit(func(fl *pflag.Flag) {
		switch list, isList := fl.Value.(pflag.SliceValue); {
		case slices.Contains(notStored, fl.Name):
		case isList:
			c.Flags[fl.Name] = list.GetSlice()
		default:
			c.Flags[fl.Name] = []string{fl.Value.String()}
		}
	})
	for _, e := range f.extra {
		if strings.HasPrefix(e, "@") {
			c.Flags[extraFlag] = append(c.Flags[extraFlag], e)
			continue
		}
		if v, err := extraVars([]string{e}); err == nil {
			for k := range v.Dict().All() {
				c.Extra = append(c.Extra, fmt.Sprint(k))
			}
		}
	}
	slices.Sort(c.Extra)
	c.Extra = slices.Compact(c.Extra)
	return c
}
