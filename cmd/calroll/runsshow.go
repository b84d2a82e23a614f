package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
)

func newRunsShowCommand() *cobra.Command {
	var output string
	var verbosity int
	var hosts bool
	cmd := &cobra.Command{
		Use:   "show RUN",
		Short: "Show a run again as it was shown, or where each host stands in it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openStore(cmd.Context())
			if err != nil {
				return err
			}
			m, err := s.Load(args[0])
			if err != nil {
				return err
			}
			if hosts {
				return showHosts(cmd.OutOrStdout(), s, m, output)
			}
			return replay(cmd.OutOrStdout(), s, m, output, verbosity)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "auto", "plain or json; with --hosts table or json")
	cmd.Flags().CountVarP(&verbosity, "verbose", "v", "say more")
	cmd.Flags().BoolVar(&hosts, "hosts", false, "a table of where each host stands, and the slowest tasks")
	return cmd
}

// replay shows a run as it was shown. A run that was killed has not summed itself up: that is made good.
func replay(out io.Writer, s store.EventReader, m store.Meta, output string, verbosity int) error {
	if output == "auto" || output == "live" {
		output = "plain"
	}
	sink, done, err := printer(output, verbosity, out)
	if err != nil {
		return err
	}
	defer done()
	h := &store.History{}
	if err := s.Events(m.ID, event.Sinks{h, sink}); err != nil {
		return err
	}
	if output == "plain" && !h.Recap && m.State == store.Killed {
		h.End(m.Plan, true)
		sink.Emit(event.Event{Kind: event.Recap, Counts: h.Counts()})
		sink.Emit(event.Event{Kind: event.RunEnd, Message: killedText(m) + unconfirmedText(m, h)})
	}
	return nil
}

func killedText(m store.Meta) string {
	why := fmt.Sprintf("its process %d on %s is gone", m.PID, m.Bastion)
	if m.Unclaimed {
		why = "its claim has ended, and " + m.Bastion + " has not said how the run did"
	}
	return fmt.Sprintf("This run was killed: %s. What it changed can be taken back with\n  calroll rollback %s", why, m.ID)
}

// unconfirmedText names the hosts that go back by themselves.
func unconfirmedText(m store.Meta, h *store.History) string {
	var waiting []string
	for _, host := range h.Hosts {
		if (explainer{m, h}).waits(host) {
			waiting = append(waiting, host.Name)
		}
	}
	if len(waiting) == 0 {
		return ""
	}
	return "\nNot confirmed: " + strings.Join(waiting, ", ") + ". What the run changed there goes back by itself."
}

// slowestShown is how many tasks the table of hosts lists.
const slowestShown = 10

// standings is what runs show --hosts prints as JSON.
type standings struct {
	Run     store.Meta      `json:"run"`
	Hosts   []*store.Host   `json:"hosts"`
	Slowest []*store.Timing `json:"slowest"`
}

func showHosts(out io.Writer, s store.EventReader, m store.Meta, output string) error {
	h, err := store.HistoryOf(s, m)
	if err != nil {
		return err
	}
	if output == "auto" {
		output = "table"
	}
	all := standings{m, h.Hosts, slowest(h.Tasks)}
	return show(out, output, all, all.print)
}

// slowest are the tasks that took longest, the slowest first.
func slowest(tasks []*store.Timing) []*store.Timing {
	sorted := slices.SortedStableFunc(slices.Values(tasks), func(a, b *store.Timing) int { return cmp.Compare(b.Seconds, a.Seconds) })
	return sorted[:min(len(sorted), slowestShown)]
}

func (st standings) print(out io.Writer) error {
	m := st.Run
	fmt.Fprintf(out, "%s  %s, started %s by %s, took %s\n\n", m.ID, stateText(m), m.Started.Local().Format(time.DateTime), byText(m), tookText(m))
	rows := [][]string{{"HOST", "STATE", "SINCE", "BATCH", "IN TASKS", "TASK", "WHERE"}}
	for _, h := range st.Hosts {
		rows = append(rows, hostRow(h))
	}
	if err := columns(out, rows...); err != nil || len(st.Slowest) == 0 {
		return err
	}
	fmt.Fprintln(out)
	rows = [][]string{{"SLOWEST TASKS", "TOOK", "LONGEST ON", "WHERE"}}
	for _, t := range st.Slowest {
		rows = append(rows, []string{t.Name, seconds(t.Seconds), fmt.Sprintf("%s, %s", cmp.Or(t.Slowest, "-"), seconds(t.Longest)), t.Where})
	}
	return columns(out, rows...)
}

// hostRow is a host's line: the task is the one that it failed at, else the last that it did.
func hostRow(h *store.Host) []string {
	row := []string{h.Name, string(h.State), "-", "-", seconds(h.Seconds), "-", "-"}
	if !h.Since.IsZero() {
		row[2] = h.Since.Local().Format(time.TimeOnly)
	}
	if h.Batches > 0 {
		row[3] = fmt.Sprintf("%d/%d", h.Batch, h.Batches)
	}
	if at := decisive(h); at != nil {
		row[5], row[6] = at.Name, at.Where
	}
	return row
}

// decisive is the task that says why a host stands where it does.
func decisive(h *store.Host) *store.Step {
	if h.Failure != nil {
		return h.Failure
	}
	return h.Last
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 1, 64) + "s" }
