// Command calroll runs Ansible playbooks over SSH without Python on either side, and takes back what they changed.
//
// One file a subcommand; what they share (where playbooks, modules and connections come from) is in carry.go. The program prints and exits in
// one place, here: everything below returns errors.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/remote"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == remote.Command {
		os.Exit(remote.Main(os.Args[2:], helperOptions()))
	}
	os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Main is the program behind its name; the exit code is ansible-playbook's.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := interruptible(stderr)
	defer stop()
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintf(stderr, "ERROR! %v\n", exit.err)
		}
		return exit.code
	case err != nil:
		fmt.Fprintf(stderr, "ERROR! %v\n", err)
		return runner.ExitError
	}
	return runner.ExitOK
}

// exitError is an error with an exit code of its own; without an error nothing more is to be said.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return fmt.Sprintf("exit status %d: %v", e.code, e.err) }
func (e exitError) Unwrap() error { return e.err }

// interruptible is a context that ends at the first Ctrl-C, SIGTERM or hang-up, which lets what is under way finish. The second one ends the program:
// what is half done then is in the hosts' journals.
func interruptible(stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup says that the run is to outlive the terminal
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		s, ok := <-signals
		if !ok {
			return
		}
		cancel(errors.New("stopped by the user"))
		fmt.Fprintf(stderr, "\n%v: finishing what is under way; once more to stop at once\n", s)
		if _, ok := <-signals; ok {
			fmt.Fprintln(stderr, "stopped at once; calroll runs ls shows the run, calroll resume goes on with it, calroll rollback takes it back")
			os.Exit(runner.ExitCanceled)
		}
	}()
	return ctx, func() { signal.Stop(signals); close(signals); cancel(nil) }
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "calroll",
		Short: "Run Ansible playbooks over SSH, reversibly and without Python",
		Long: "calroll runs playbooks written in Ansible's language on many hosts over SSH. Hosts need neither Python nor an\n" +
			"agent, and every change can be taken back: calroll rollback RUN.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       programVersion(),
	}
	root.AddCommand(newRunCommand(), newResumeCommand(), newRollbackCommand(), newRunsCommand(), newExplainCommand(), newLocksCommand(), newUnlockCommand(),
		newPlaybooksCommand(), newInventoryCommand(), newLabCommand())
	(&stateFlags{}).add(root)
	speakPlainly(root)
	return root
}
