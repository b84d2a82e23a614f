package main

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/calroll/calroll/runner/store"
)

// TestRerun: what NEXT has under calroll run is what the run was told, for one host.
func TestRerun(t *testing.T) {
	m := store.Meta{Playbooks: []string{"my site.yml"}, Inventory: []string{"/srv/hosts", "web1,web2"}, Tags: []string{"a", "b"}, Check: true,
		Command: store.Command{Extra: []string{"mode", "token"}, Flags: map[string][]string{
			"become": {"true"}, "diff": {"false"}, "user": {"ops"}, "private-key": {"one", "two"}, "rollback": {"batch"}, "time-limit": {"1m30s"}, "limit": {"web"},
			"inventory": {"hosts", "web1,web2"}, "tags": {"a,b"}, "state": {"etcd://one:2379/calroll?lease=10s"}, "extra-vars": {"@it's.yml"}}}}
	m.Inputs.ExtraVars = map[string]string{"from_file": "x", "mode": "x", "token": "x"}
	const want = `calroll run 'my site.yml' -i /srv/hosts -i web1,web2 --limit web1 --tags a --tags b --check --become --diff=false --private-key one --private-key two ` +
		`--rollback batch --state 'etcd://one:2379/calroll?lease=10s' --time-limit 1m30s --user ops -e '@it'"'"'s.yml' -e mode=... -e token=...`
	if got := rerun(m, "web1"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestNoFlagHidesOneOfTheProgram: a flag of a command that is called like one of all commands would take its place without a word.
func TestNoFlagHidesOneOfTheProgram(t *testing.T) {
	root := newRootCommand()
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
				if hides := sub.LocalNonPersistentFlags().Lookup(f.Name); hides != nil {
					t.Errorf("%s has a --%s of its own", sub.CommandPath(), f.Name)
				}
			})
			look(sub)
		}
	}
	look(root)
}
