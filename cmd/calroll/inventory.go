package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/inventory"
)

func newInventoryCommand() *cobra.Command {
	var sources []string
	cmd := &cobra.Command{
		Use:   "inventory [PATTERN]",
		Short: "List the hosts that a pattern means, and their groups",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			inv, err := inventory.Load(cmd.Context(), sources)
			if err != nil {
				return err
			}
			pattern := "all"
			if len(args) > 0 {
				pattern = args[0]
			}
			hosts, err := inv.Match(pattern)
			if err != nil {
				return err
			}
			for _, h := range hosts {
				away := ""
				if a := inv.Absence(h.Name); a != nil {
					away = "\tabsent: " + a.String()
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\t%v%s\n", h.Name, h.GroupNames(), away)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&sources, "inventory", "i", nil, "inventory file, folder, script, or list of hosts with a comma")
	return cmd
}
