package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner/store"
)

func newRunsDiffCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "diff RUN RUN",
		Short: "Say what two runs do not have in common",
		Long: "Compares two runs: what they were made from (playbook files, the inventory's variables, extra variables, flags), where\n" +
			"each host stands, what each task came to, and how long it took. Of variables only hashes are kept: it says which\n" +
			"differ, not what they were.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := diffRuns(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, d, func(out io.Writer) error { return printDiff(out, d) })
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func diffRuns(ctx context.Context, ids ...string) (store.Difference, error) {
	s, err := openStore(ctx)
	if err != nil {
		return store.Difference{}, err
	}
	var ms []store.Meta
	var hs []*store.History
	for _, id := range ids {
		m, err := s.Load(id)
		if err != nil {
			return store.Difference{}, err
		}
		h, err := store.HistoryOf(s, m)
		if err != nil {
			return store.Difference{}, err
		}
		ms, hs = append(ms, m), append(hs, h)
	}
	return store.Diff(ms[0], ms[1], hs[0], hs[1]), nil
}

// printDiff shows a difference as tables, with a column for each run; those that have nothing in them are left out.
func printDiff(out io.Writer, d store.Difference) error {
	rows := [][]string{{"", d.Runs[0], d.Runs[1]}, {"state", string(d.State[0]), string(d.State[1])}, {"took", seconds(d.Took[0]), seconds(d.Took[1])}}
	for _, c := range d.Made {
		rows = append(rows, []string{strings.TrimSpace(c.What + " " + c.Name), cmp.Or(c.Is[0], "-"), cmp.Or(c.Is[1], "-")})
	}
	section := func(title string, n int) {
		if n > 0 {
			rows = append(rows, nil, []string{title})
		}
	}
	section("HOSTS", len(d.Hosts))
	for _, h := range d.Hosts {
		rows = append(rows, []string{h.Host, h.Is[0], h.Is[1]})
	}
	section("TASKS", len(d.Tasks))
	for _, t := range d.Tasks {
		rows = append(rows, []string{t.Task + " on " + someHosts(t.Hosts), t.Is[0], t.Is[1]})
	}
	section("TIMES", len(d.Times))
	for _, t := range d.Times {
		rows = append(rows, []string{t.Task, seconds(t.Is[0]), seconds(t.Is[1])})
	}
	if len(d.Made)+len(d.Hosts)+len(d.Tasks) == 0 {
		rows = append(rows, nil, []string{"They were made from the same, and every task came to the same on every host."})
	}
	return columns(out, rows...)
}

// hostsShown is how many hosts a line names.
const hostsShown = 8

func someHosts(names []string) string {
	if more := len(names) - hostsShown; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:hostsShown], ", "), more)
	}
	return strings.Join(names, ", ")
}
