package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner/store"
)

func newRunsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "runs", Short: "Look at past runs", Args: cobra.NoArgs}
	cmd.AddCommand(newRunsListCommand(), newRunsShowCommand())
	return cmd
}

func newRunsListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List runs, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openStore()
			if err != nil {
				return err
			}
			runs, err := s.List()
			if err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(runs)
			}
			return listRuns(cmd.OutOrStdout(), runs)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func listRuns(out io.Writer, runs []store.Meta) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "RUN\tSTATE\tSTARTED\tTOOK\tHOSTS\tPLAYBOOKS")
	for _, m := range runs {
		took := "-"
		if m.Ended != nil {
			took = m.Ended.Sub(m.Started).Round(100 * time.Millisecond).String()
		}
		hosts := map[string]bool{}
		for _, id := range m.Identities {
			hosts[id.Host] = true
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", m.ID, m.State, m.Started.Local().Format(time.DateTime), took, len(hosts), strings.Join(m.Playbooks, " "))
	}
	return w.Flush()
}

func newRunsShowCommand() *cobra.Command {
	var output string
	var verbosity int
	cmd := &cobra.Command{
		Use:   "show RUN",
		Short: "Show a run again as it was shown",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openStore()
			if err != nil {
				return err
			}
			m, err := s.Load(args[0])
			if err != nil {
				return err
			}
			if output == "auto" || output == "live" {
				output = "plain"
			}
			sink, done, err := printer(output, verbosity, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			defer done()
			return s.Events(m.ID, sink)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "auto", "plain or json")
	cmd.Flags().CountVarP(&verbosity, "verbose", "v", "say more")
	return cmd
}
