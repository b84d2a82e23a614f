package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/runner/store/etcd"
	"github.com/calroll/calroll/tasks/journal"
)

// lockView is how things stand with all locks that a command is about.
type lockView struct {
	Shared []etcd.Lock       `json:"shared,omitempty"` // in etcd
	Hosts  []runner.HostLock `json:"hosts"`
}

func newLocksCommand() *cobra.Command {
	f := &connectFlags{}
	var output string
	cmd := &cobra.Command{
		Use:   "locks",
		Short: "Show who holds hosts, and runs left behind there",
		Long: "Asks every host who has its lock, and which runs are open there: neither passed nor taken back. A host keeps a lock for each\n" +
			"user that runs work as; shown are the one that you are there (-b: that you become) and those of the runs of this bastion.\n" +
			"Exit status 4 says that a host could not be asked.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return showLocks(cmd, f, output) },
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func showLocks(cmd *cobra.Command, f *connectFlags, output string) error {
	if output != "table" && output != "json" {
		return fmt.Errorf("cannot print as %q: --output is table or json", output)
	}
	l, s, err := lookAtLocks(cmd, f)
	if err != nil {
		return err
	}
	l.Close()
	if output == "json" {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(s)
	} else {
		err = s.print(cmd.OutOrStdout())
	}
	for _, h := range s.Hosts {
		if err == nil && h.Err != "" {
			err = exitError{runner.ExitUnreachable, nil}
		}
	}
	return err
}

// recentRuns is how many runs tell as whom to look.
const recentRuns = 20

// lookAtLocks connects to the hosts and asks. The caller closes what it returns.
func lookAtLocks(cmd *cobra.Command, f *connectFlags) (*runner.Locks, lockView, error) {
	var s lockView
	if len(f.inventory) == 0 {
		return nil, s, errors.New("cannot look at locks: name the hosts with -i")
	}
	o, err := f.options(cmd)
	if err != nil {
		return nil, s, err
	}
	o.Env = newEnv(".", o.Inventory)
	runs, err := recorded(cmd.Context())
	if err != nil {
		return nil, s, err
	}
	if s.Shared, err = runner.Claims(cmd.Context(), o); err != nil {
		return nil, s, err
	}
	l, err := runner.OpenLocks(o, runs)
	if err != nil {
		return nil, s, err
	}
	s.Hosts = l.Look(cmd.Context())
	return l, s, nil
}

func recorded(ctx context.Context) ([]store.Meta, error) {
	s, err := openStore(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := s.List()
	return runs[:min(recentRuns, len(runs))], err
}

// print shows the locks as tables.
func (s lockView) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if len(s.Shared) > 0 {
		fmt.Fprintln(w, "IN ETCD\tHOLDER\tRUN\tPROCESS\tSINCE\tENDS IN\tTOKEN")
	}
	for _, l := range s.Shared {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%d\n", l.Of(), l.Holder.Who(), l.Holder.Run, l.Holder.PID, clock(l.Holder.Since), wholeSeconds(l.Left), l.Revision)
	}
	if len(s.Shared) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "HOST\tAS\tLOCK\tHOLDER\tRUN\tPROCESS\tSINCE\tHEARD\tTOKEN")
	for _, h := range s.Hosts {
		fmt.Fprintln(w, h.Host+"\t"+cmp.Or(h.As, "-")+"\t"+lockLine(h))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.printOpen(out)
	return nil
}

func lockLine(h runner.HostLock) string {
	switch l := h.Lock; {
	case h.Err != "":
		return "unknown: " + strings.ReplaceAll(h.Err, "\n", " ")
	case l.Holder == nil:
		return fmt.Sprintf("%s\t-\t-\t-\t-\t-\t%d", l.Standing, l.Token)
	default:
		return fmt.Sprintf("%s\t%s\t%s\t%d\t%s\t%s ago\t%d", l.Standing, l.Holder.Who(), l.Holder.Run, l.Holder.PID, clock(l.Holder.Since),
			wholeSeconds(l.Silence), l.Token)
	}
}

func clock(t time.Time) string                   { return t.Local().Format(time.DateTime) }
func wholeSeconds(d time.Duration) time.Duration { return d.Round(time.Second) }

// printOpen lists runs that nobody carries on, and what to do about them.
func (s lockView) printOpen(out io.Writer) {
	hosts := map[string][]string{}
	var order []string
	for _, h := range s.Hosts {
		for _, r := range h.Open {
			if h.Lock.Standing == journal.Held && h.Lock.Holder.Run == r.ID {
				continue
			}
			if hosts[r.ID] == nil {
				order = append(order, r.ID)
			}
			hosts[r.ID] = append(hosts[r.ID], fmt.Sprintf("%s (%d changes, %d taken back%s)", h.Host, r.Records, r.Undone, switchText(r.Switch)))
		}
	}
	for _, id := range order {
		fmt.Fprintf(out, "\nRun %s is open on %s.\n  calroll rollback %s\n", id, strings.Join(hosts[id], ", "), id)
	}
}

// switchText says of a run that was to be confirmed how that stands.
func switchText(s journal.SwitchState) string {
	return map[journal.SwitchState]string{journal.Armed: ", not confirmed", journal.Fired: ", by the host itself"}[s]
}
