package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/runner/store/etcd"
)

// stateFlags say where the state is that bastions share. They are flags of every command; their variables are etcdctl's.
type stateFlags struct {
	address            string
	ca, cert, key      string
	user, passwordFile string
	cluster            string
	lockTimeout        time.Duration
	shared             *runner.Shared
	claimed            map[string]bool // runs, as store.Store.Claimed has them
}

func (f *stateFlags) add(root *cobra.Command) {
	fl := root.PersistentFlags()
	fl.StringVar(&f.address, "state", os.Getenv("CALROLL_STATE"), "share runs and locks with other bastions: etcd://host:2379[,host2]/prefix (CALROLL_STATE)")
	fl.StringVar(&f.ca, "etcd-cacert", os.Getenv("ETCDCTL_CACERT"), "file of the authority that the servers of --state are verified with (ETCDCTL_CACERT)")
	fl.StringVar(&f.cert, "etcd-cert", os.Getenv("ETCDCTL_CERT"), "client certificate for --state (ETCDCTL_CERT)")
	fl.StringVar(&f.key, "etcd-key", os.Getenv("ETCDCTL_KEY"), "key of the client certificate (ETCDCTL_KEY)")
	fl.StringVar(&f.user, "etcd-user", "", "user for --state (ETCDCTL_USER, which may have user:password)")
	fl.StringVar(&f.passwordFile, "etcd-password-file", "", "file with that user's password (ETCDCTL_PASSWORD)")
	fl.StringVar(&f.cluster, "cluster", "", "with --state: lock this cluster as a whole, besides the hosts (default: the hosts' calroll_cluster)")
	fl.DurationVar(&f.lockTimeout, "lock-timeout", 0, "with --state: how long to wait for who is at work on the hosts")
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error { return f.open(cmd, args) }
	root.PersistentPostRunE = func(cmd *cobra.Command, args []string) error { return f.close(cmd.Context(), args) }
}

type stateKey struct{}

// shared is the state that this command shares with other bastions; nil for none.
func shared(ctx context.Context) *runner.Shared {
	if f, ok := ctx.Value(stateKey{}).(*stateFlags); ok {
		return f.shared
	}
	return nil
}

// claimed tells of runs in that state whether somebody is at work on them.
func claimed(ctx context.Context) map[string]bool {
	if f, ok := ctx.Value(stateKey{}).(*stateFlags); ok {
		return f.claimed
	}
	return nil
}

// topic is the command below calroll: "runs" for calroll runs ls.
func topic(cmd *cobra.Command) string {
	for cmd.HasParent() && cmd.Parent().HasParent() {
		cmd = cmd.Parent()
	}
	return cmd.Name()
}

// open connects, and brings what other bastions have recorded. What only reads runs goes on without it.
func (f *stateFlags) open(cmd *cobra.Command, args []string) error {
	if f.address == "" && f.cluster != "" {
		return errors.New("cannot lock a cluster: --cluster needs --state")
	}
	top := topic(cmd)
	if f.address == "" || slices.Contains([]string{"calroll", "help", "completion", "lab", "playbooks", "inventory"}, top) {
		return nil
	}
	err := f.connect(cmd.Context())
	if err == nil {
		err = f.fetch(cmd, args)
	}
	if err != nil && slices.Contains([]string{"runs", "explain"}, top) {
		fmt.Fprintf(cmd.ErrOrStderr(), "[WARNING]: %v; what follows is what this bastion knows\n", err)
		return nil
	}
	cmd.SetContext(context.WithValue(cmd.Context(), stateKey{}, f))
	return err
}

func (f *stateFlags) connect(ctx context.Context) error {
	a, err := etcd.ParseAddress(f.address)
	if err != nil {
		return err
	}
	a.CA, a.Cert, a.Key = f.ca, f.cert, f.key
	user, password, _ := strings.Cut(os.Getenv("ETCDCTL_USER"), ":")
	a.User, a.Password = cmp.Or(f.user, user), cmp.Or(os.Getenv("ETCDCTL_PASSWORD"), password)
	if f.passwordFile != "" {
		text, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return fmt.Errorf("cannot read the password for --state: %w", err)
		}
		a.Password = strings.TrimRight(string(text), "\r\n")
	}
	dir, err := store.DefaultDir()
	if err != nil {
		return err
	}
	state, err := etcd.Open(ctx, a)
	if err != nil {
		return err
	}
	f.shared = &runner.Shared{State: state, Dir: dir, Cluster: f.cluster, Wait: f.lockTimeout}
	return nil
}

// fetch brings run.json of all runs, and the files of those that are named.
func (f *stateFlags) fetch(cmd *cobra.Command, args []string) error {
	s, err := openStore(cmd.Context())
	if err != nil {
		return err
	}
	if f.claimed, err = f.shared.State.Fetch(cmd.Context(), f.shared.Dir); err != nil {
		return err
	}
	for _, run := range named(s, args) {
		whole, err := f.shared.State.FetchRun(cmd.Context(), f.shared.Dir, run)
		if err != nil {
			return err
		}
		if !whole {
			fmt.Fprintf(cmd.ErrOrStderr(), "[WARNING]: run %s is too large for etcd: only its own bastion has all of it\n", run)
		}
	}
	return nil
}

// named are the runs among the arguments of a command.
func named(s *store.Store, args []string) []string {
	var runs []string
	for _, a := range args {
		if m, err := s.Load(a); err == nil {
			runs = append(runs, m.ID)
		}
	}
	return runs
}

// close shares what the command has noted of runs.
func (f *stateFlags) close(ctx context.Context, args []string) error {
	if f.shared == nil {
		return nil
	}
	defer func() { _ = f.shared.State.Close() }() // nothing is on its way any more
	s, err := openStore(ctx)
	if err != nil {
		return err
	}
	for _, run := range named(s, args) {
		if err := f.shared.State.Ship(ctx, f.shared.Dir, run); err != nil {
			return err
		}
	}
	return nil
}
