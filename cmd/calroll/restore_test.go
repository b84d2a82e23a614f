package main

import (
	"context"
	"slices"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/store"
)

// TestTheClusterOfARunIsLockedAgain by whoever goes on with it or takes it back, unless another one is named.
func TestTheClusterOfARunIsLockedAgain(t *testing.T) {
	meta := store.Meta{Dir: t.TempDir(), Command: store.Command{Flags: map[string][]string{clusterFlag: {"prod"}}}}
	t.Chdir(meta.Dir)
	for name, as := range map[string]func(*cobra.Command) error{
		"resume":   func(cmd *cobra.Command) error { return (&runFlags{}).as(cmd, meta) },
		"rollback": func(cmd *cobra.Command) error { _, err := (&rollbackFlags{}).as(cmd, meta); return err },
	} {
		for given, want := range map[string]string{"": "prod", "test": "test"} {
			state := &stateFlags{shared: &runner.Shared{Cluster: given}}
			cmd := &cobra.Command{}
			cmd.SetContext(context.WithValue(t.Context(), stateKey{}, state))
			if err := as(cmd); err != nil || state.shared.Cluster != want {
				t.Errorf("%s with %q locks %q (%v), want %q", name, given, state.shared.Cluster, err, want)
			}
		}
	}
}

// TestLoginFlags: a rollback has the flags of the run that say how hosts are reached, all of them, and no other.
func TestLoginFlags(t *testing.T) {
	cmd := &cobra.Command{}
	(&connectFlags{}).add(cmd)
	others := []string{"inventory", "limit", "forks", "connections", "verbose"}
	var want []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(others, f.Name) {
			want = append(want, f.Name)
		}
	})
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(loginFlags)); !slices.Equal(got, want) {
		t.Errorf("a rollback has %v from its run, want %v", got, want)
	}
}
