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
	if err := fromHere(cmd.LocalFlags()); err != nil {
		return err
	}
	if dir := meta.Dir; dir != "" {
		if err := os.Chdir(dir); err != nil {
			return fmt.Errorf("the folder it was started in: %w", err)
		}
	}
	sameCluster(cmd, meta)
	return restoreFlags(cmd.LocalFlags(), meta.Command.Flags, meta.Dir)
}

// sameCluster has the cluster locked that the run has locked.
func sameCluster(cmd *cobra.Command, meta store.Meta) {
	if name := meta.Command.Flags[clusterFlag]; name != nil && shared(cmd.Context()) != nil && shared(cmd.Context()).Cluster == "" {
		shared(cmd.Context()).Cluster = name[0]
	}
}

// fromHere has the flags that name files name the same ones from another folder.
func fromHere(fl *pflag.FlagSet) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("cannot tell where we are: %w", err)
	}
	fl.Visit(func(f *pflag.Flag) {
		if f.Name == extraFlag || slices.Contains(fileFlags, f.Name) {
			err = errors.Join(err, setFlag(f, filesFrom(dir, f.Name, valuesOf(f))))
		}
	})
	return err
}

// restoreFlags sets flags as a run had them that was started in dir. What is given now wins; of variables what comes later does.
func restoreFlags(fl *pflag.FlagSet, flags map[string][]string, dir string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		f := fl.Lookup(name)
		if f == nil || f.Changed && name != extraFlag {
			continue
		}
		values := filesFrom(dir, name, flags[name])
		if f.Changed {
			given := valuesOf(f)
			values = append(slices.DeleteFunc(values, func(v string) bool { return slices.Contains(given, v) }), given...)
		}
		errs = append(errs, setFlag(f, values))
		f.Changed = true
	}
	return errors.Join(errs...)
}

func valuesOf(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{f.Value.String()}
}

func setFlag(f *pflag.Flag, values []string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.Replace(values)
	}
	return f.Value.Set(values[0])
}

// fileFlags name files.
var fileFlags = []string{"inventory", "private-key", "roles-path", "connection-password-file", "become-password-file"}

// filesFrom are values of a flag with the files that they name below dir. Lists of hosts, and the shell's ~, are none.
func filesFrom(dir, flag string, values []string) []string {
	var all []string
	for _, v := range values {
		at, file := "", v
		if flag == extraFlag && strings.HasPrefix(v, "@") {
			at, file = "@", v[1:]
		}
		isFile := at != "" || slices.Contains(fileFlags, flag) && !strings.Contains(v, ",")
		if isFile && dir != "" && file != "" && !filepath.IsAbs(file) && !strings.HasPrefix(file, "~") {
			v = at + filepath.Join(dir, file)
		}
		all = append(all, v)
	}
	return all
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
	extraFlag   = "extra-vars"
	stateFlag   = "state"
	clusterFlag = "cluster"
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
