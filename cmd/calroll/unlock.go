package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/tasks/journal"
)

func newUnlockCommand() *cobra.Command {
	f := &connectFlags{}
	u := &unlocking{}
	cmd := &cobra.Command{
		Use:   "unlock",
		Short: "Take hosts from a run that holds them",
		Long: "Says who holds the hosts, asks, and takes their locks away. From then on hosts refuse the old holder, should it come back. What its\n" +
			"run has changed stays as it is: see calroll rollback. A holder that is alive keeps its locks unless --force is given.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return u.unlock(cmd, f) },
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&u.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&u.force, "force", false, "also from holders that are alive: their runs stop in the middle")
	return cmd
}

type unlocking struct{ yes, force bool }

func (u *unlocking) unlock(cmd *cobra.Command, f *connectFlags) error {
	l, s, err := lookAtLocks(cmd, f)
	if err != nil {
		return err
	}
	defer l.Close()
	s.Hosts = slices.DeleteFunc(s.Hosts, func(h runner.HostLock) bool { return h.Err == "" && h.Lock.Standing == journal.Free })
	for i := range s.Hosts {
		s.Hosts[i].Open = nil // no question of this command
	}
	out := cmd.OutOrStdout()
	if len(s.Hosts)+len(s.Shared) == 0 {
		fmt.Fprintln(out, "no host is locked")
		return nil
	}
	if err := s.print(out); err != nil {
		return err
	}
	if err := u.alive(s); err != nil {
		return err
	}
	if ok, err := u.agreed(cmd); err != nil {
		return err
	} else if !ok {
		fmt.Fprintln(out, "nothing was unlocked")
		return exitError{runner.ExitError, nil}
	}
	for _, lock := range s.Shared {
		if err := shared(cmd.Context()).State.Unlock(cmd.Context(), lock); err != nil {
			return err
		}
		fmt.Fprintf(out, "unlocked in etcd: %s, which %s had\n", lock.Of(), lock.Holder.Who())
	}
	return told(out, l.Unlock(cmd.Context(), s.Hosts, u.force))
}

// alive refuses to take locks from holders that are at work.
func (u *unlocking) alive(s lockView) error {
	if u.force {
		return nil
	}
	var hosts []string
	for _, h := range s.Hosts {
		if h.Lock.Standing == journal.Held {
			hosts = append(hosts, h.Host)
		}
	}
	if len(hosts) > 0 {
		return fmt.Errorf("cannot unlock: the holder of %s is alive; stop it, or use --force, which stops it in the middle", strings.Join(hosts, ", "))
	}
	if len(s.Shared) > 0 {
		return errors.New("cannot unlock: the lock in etcd is there, and ends by itself when its holder is gone; --force ends it now")
	}
	return nil
}

// agreed asks the user.
func (u *unlocking) agreed(cmd *cobra.Command) (bool, error) {
	if u.yes {
		return true, nil
	}
	if in, ok := cmd.InOrStdin().(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
		return false, errors.New("cannot ask whether to unlock: there is no terminal; use --yes")
	}
	fmt.Fprint(cmd.OutOrStdout(), "\nTake these locks away? [y/N] ")
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// told says what came of it on each host.
func told(out io.Writer, hosts []runner.HostLock) error {
	failed := false
	for _, h := range hosts {
		switch {
		case h.Err != "":
			failed = true
			fmt.Fprintf(out, "%s: %s\n", h.Host, h.Err)
		case h.Lock.Holder == nil:
			fmt.Fprintf(out, "%s: free already\n", h.Host)
		default:
			fmt.Fprintf(out, "%s: unlocked; %s had it\n", h.Host, h.Lock.Holder)
		}
	}
	if failed {
		return exitError{runner.ExitFailed, nil}
	}
	return nil
}
