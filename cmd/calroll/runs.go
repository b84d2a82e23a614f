package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner/conn"
	"github.com/calroll/calroll/runner/store"
)

func newRunsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "runs", Short: "Look at past runs, compare them, forget old ones", Args: cobra.NoArgs}
	cmd.AddCommand(newRunsListCommand(), newRunsShowCommand(), newRunsDiffCommand(), newRunsPruneCommand())
	return cmd
}

// outputFlag is --output of commands that print a table or JSON.
func outputFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVarP(to, "output", "o", "table", "table or json")
}

// show prints v as JSON when the user wants that, and else what table prints.
func show(out io.Writer, format string, v any, table func(io.Writer) error) error {
	switch format {
	case "json":
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	case "table":
		return table(out)
	}
	return fmt.Errorf("cannot print as %q: --output is table or json", format)
}

// columns prints rows of cells below each other.
func columns(out io.Writer, rows ...[]string) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// chosenRuns are the flags of runs ls that leave runs out.
type chosenRuns struct {
	state, host, playbook string
	limit                 int
}

// states are what --in takes. Runs of other bastions are among those that they seem to be: running, or killed.
var states = []store.State{store.Running, store.Passed, store.Failed, store.Canceled, store.RolledBack, store.StillOpen, store.Killed}

// stateList names the states as a shell takes them.
func stateList() string {
	var names []string
	for _, s := range states {
		names = append(names, conn.Quote(string(s)))
	}
	return strings.Join(names, ", ")
}

func newRunsListCommand() *cobra.Command {
	var output string
	var f chosenRuns
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List runs, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openStore(cmd.Context())
			if err != nil {
				return err
			}
			runs, err := s.List()
			if err != nil {
				return err
			}
			if runs, err = f.of(runs); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, runs, func(out io.Writer) error { return listRuns(out, runs) })
		},
	}
	outputFlag(cmd, &output)
	fl := cmd.Flags()
	fl.StringVar(&f.state, "in", "", "only runs in this `state`: "+stateList())
	fl.StringVar(&f.host, "host", "", "only runs for this host")
	fl.StringVar(&f.playbook, "playbook", "", "only runs of this playbook: its name or path")
	fl.IntVar(&f.limit, "limit", 0, "at most so many, the newest")
	return cmd
}

// of are those of runs that were chosen.
func (f chosenRuns) of(runs []store.Meta) ([]store.Meta, error) {
	if f.state != "" && !slices.Contains(states, store.State(f.state)) {
		return nil, fmt.Errorf("cannot list runs in state %q: the states are %s", f.state, stateList())
	}
	chosen := []store.Meta{}
	for _, m := range runs {
		switch {
		case f.state != "" && m.State != store.State(f.state):
		case f.host != "" && !slices.Contains(m.Hosts(), f.host):
		case f.playbook != "" && !slices.ContainsFunc(m.Playbooks, f.isPlaybook):
		case f.limit > 0 && len(chosen) == f.limit:
		default:
			chosen = append(chosen, m)
		}
	}
	return chosen, nil
}

// isPlaybook tells whether a playbook, as a run was given it, is the one that the user means.
func (f chosenRuns) isPlaybook(name string) bool {
	base := filepath.Base(name)
	return name == f.playbook || base == f.playbook || strings.TrimSuffix(base, filepath.Ext(base)) == f.playbook
}

func listRuns(out io.Writer, runs []store.Meta) error {
	rows := [][]string{{"RUN", "STATE", "STARTED", "TOOK", "HOSTS", "BY", "PLAYBOOKS"}}
	for _, m := range runs {
		rows = append(rows, []string{m.ID, stateText(m), m.Started.Local().Format(time.DateTime), tookText(m), strconv.Itoa(len(m.Hosts())), byText(m),
			strings.Join(m.Playbooks, " ")})
	}
	return columns(out, rows...)
}

// stateText is a run's state. Of one that runs on another bastion, only that bastion can tell whether it was killed, or the state that both share.
func stateText(m store.Meta) string {
	switch {
	case m.Elsewhere():
		return "running on " + m.Bastion
	case m.Unclaimed:
		return "killed (its claim has ended)"
	}
	return string(m.State)
}

func tookText(m store.Meta) string {
	took, ok := m.Took()
	if !ok {
		return "-"
	}
	return took.Round(100 * time.Millisecond).String()
}

func byText(m store.Meta) string {
	by := m.User
	if m.SudoUser != "" {
		by = m.SudoUser
	}
	return by + "@" + m.Bastion
}

func newRunsPruneCommand() *cobra.Command {
	var output, older string
	var p store.Pruning
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Forget old runs",
		Long: fmt.Sprintf("Forgets runs that are older than --older, and those beyond the newest --keep. With neither it keeps what the end of\n"+
			"every run keeps: the newest %d of the last %d days. A run that is running is never forgotten, nor one that may\n"+
			"have left changes on hosts as long as they can be taken back.", store.KeepRuns, days(store.KeepAge)),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if p.Age, err = parseAge(older); err != nil {
				return err
			}
			if p == (store.Pruning{}) {
				p = keptByDefault
			}
			gone, err := prune(cmd.Context(), p, dryRun)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, gone, func(out io.Writer) error { return listPruned(out, gone, dryRun) })
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().StringVar(&older, "older", "", "forget runs that are older than this: 30d, 12h")
	cmd.Flags().IntVar(&p.Keep, "keep", 0, "keep the newest so many")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "forget nothing; say which runs would be forgotten")
	return cmd
}

var keptByDefault = store.Pruning{Age: store.KeepAge, Keep: store.KeepRuns}

func prune(ctx context.Context, p store.Pruning, dryRun bool) ([]store.Meta, error) {
	s, err := openStore(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := s.List()
	if err != nil {
		return nil, err
	}
	gone, ids := p.Chooses(runs, time.Now()), []string(nil)
	if dryRun {
		return gone, nil
	}
	for _, m := range gone {
		ids = append(ids, m.ID)
	}
	return gone, s.Remove(ids...)
}

func listPruned(out io.Writer, gone []store.Meta, dryRun bool) error {
	if len(gone) > 0 {
		if err := listRuns(out, gone); err != nil {
			return err
		}
	}
	what := "forgotten"
	if dryRun {
		what = "would be forgotten"
	}
	_, err := fmt.Fprintf(out, "%d runs %s\n", len(gone), what)
	return err
}

const day = 24 * time.Hour

func days(d time.Duration) int { return int(d / day) }

// parseAge reads "30d", or what Go takes as a duration.
func parseAge(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	number, isDays := strings.CutSuffix(text, "d")
	n, err := strconv.Atoi(number)
	age := time.Duration(n) * day
	if !isDays {
		age, err = time.ParseDuration(text)
	}
	if err != nil || age <= 0 {
		return 0, fmt.Errorf("cannot use %q as an age: give days or hours, as in 30d or 12h", text)
	}
	return age, nil
}
