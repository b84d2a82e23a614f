package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/conn"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/machine"
)

// runFlags are the flags of calroll run; their names are ansible-playbook's where it has them.
type runFlags struct {
	connectFlags
	extra         []string
	tags, skip    []string
	check, diff   bool
	rollback      string
	timeLimit     time.Duration
	forceHandlers bool
	rolesPath     []string
	listTasks     bool
	listTags      bool
	listHosts     bool
	syntaxCheck   bool
	outputFormat  string
}

// connectFlags are what every command that talks to hosts takes.
type connectFlags struct {
	inventory  []string
	limit      string
	forks      int
	links      int
	verbosity  int
	user       string
	keyFiles   []string
	connection string
	timeout    int
	retries    int
	sshArgs    string
	hostKeys   string
	become     bool
	becomeHow  string
	becomeUser string
	askPass    bool
	askBecome  bool
	passFile   string
	becomeFile string
}

func (f *connectFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.inventory, "inventory", "i", nil, "inventory file, folder, script, or list of hosts with a comma (may be repeated)")
	fl.StringVarP(&f.limit, "limit", "l", "", "only hosts that match this pattern too")
	fl.IntVarP(&f.forks, "forks", "f", 50, "how many hosts to work on at the same time")
	fl.IntVar(&f.links, "connections", 0, "how many hosts to be connected to at the same time (default: four times the forks, 64 at least)")
	fl.CountVarP(&f.verbosity, "verbose", "v", "say more; -vvv says most")
	fl.StringVarP(&f.user, "user", "u", "", "log in as this user")
	fl.StringArrayVar(&f.keyFiles, "private-key", nil, "private key to log in with")
	fl.StringVarP(&f.connection, "connection", "c", "", "ssh (the default) or local")
	fl.IntVarP(&f.timeout, "timeout", "T", 0, "seconds to wait for a connection")
	fl.IntVar(&f.retries, "connect-retries", 2, "how often to try again to connect")
	fl.StringVar(&f.sshArgs, "ssh-common-args", "", "further arguments as for ssh: -o, -J, -F, -i, -p")
	fl.StringVar(&f.hostKeys, "host-key-checking", "", "strict, accept-new or off (default: as ssh_config says, else strict)")
	fl.BoolVarP(&f.become, "become", "b", false, "work as another user")
	fl.StringVar(&f.becomeHow, "become-method", "sudo", "sudo, su or doas")
	fl.StringVar(&f.becomeUser, "become-user", "root", "the user to become")
	fl.BoolVarP(&f.askPass, "ask-pass", "k", false, "ask for the login password")
	fl.BoolVarP(&f.askBecome, "ask-become-pass", "K", false, "ask for the password of become")
	fl.StringVar(&f.passFile, "connection-password-file", "", "read the login password from this file")
	fl.StringVar(&f.becomeFile, "become-password-file", "", "read the password of become from this file")
}

func newRunCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run PLAYBOOK...",
		Short: "Run playbooks: files, or embedded ones by name",
		Args:  cobra.MinimumNArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.listTasks, "list-tasks", false, "list the tasks and do nothing")
	fl.BoolVar(&f.listTags, "list-tags", false, "list the tags and do nothing")
	fl.BoolVar(&f.listHosts, "list-hosts", false, "list the hosts and do nothing")
	fl.BoolVar(&f.syntaxCheck, "syntax-check", false, "read the playbooks and do nothing")
	fl.BoolVarP(&f.check, "check", "C", false, "change nothing; say what would change")
	return cmd
}

// add adds the flags that say how playbooks are carried out.
func (f *runFlags) add(cmd *cobra.Command) {
	f.connectFlags.add(cmd)
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.extra, "extra-vars", "e", nil, "variables: key=value, YAML, JSON or @file (may be repeated)")
	fl.StringArrayVarP(&f.tags, "tags", "t", nil, "only tasks with these tags")
	fl.StringArrayVar(&f.skip, "skip-tags", nil, "no tasks with these tags")
	fl.BoolVarP(&f.diff, "diff", "D", false, "show what changes in files")
	fl.StringVar(&f.rollback, "rollback", "none", "what to take back when a play that does not say fails: host, batch, all or none")
	fl.DurationVar(&f.timeLimit, "time-limit", 0, "stop as with Ctrl-C after this time, such as 90m; a play's own limit is its time_limit")
	fl.StringArrayVar(&f.rolesPath, "roles-path", nil, "where to look for roles besides the playbook's folder")
	fl.BoolVar(&f.forceHandlers, "force-handlers", false, "run notified handlers on failed hosts too")
	fl.StringVarP(&f.outputFormat, "output", "o", "auto", "auto, plain, live or json (one event a line)")
}

func (f *runFlags) run(cmd *cobra.Command, args []string) error {
	o, err := f.runOptions(cmd, args)
	if err != nil {
		return err
	}
	if there := ansibleSettings(); len(there) > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "[WARNING]: calroll does not read %s: what is said there has to be said by flags or in the inventory\n", strings.Join(there, ", "))
	}
	if f.listTasks || f.listTags || f.listHosts || f.syntaxCheck {
		return f.list(cmd.OutOrStdout(), o)
	}
	if o.Store, err = openStore(cmd.Context()); err != nil {
		return err
	}
	o.Command = f.command(cmd)
	return f.carryOut(cmd, o)
}

// runOptions are what the flags say about running playbooks.
func (f *runFlags) runOptions(cmd *cobra.Command, books []string) (runner.Options, error) {
	o, err := f.options(cmd)
	o.Playbooks = books
	var err1, err2 error
	o.ExtraVars, err1 = extraVars(f.extra)
	o.Rollback, err2 = machine.ParseScope(f.rollback)
	if err := errors.Join(err, err1, err2); err != nil {
		return o, err
	}
	o.Env = newEnv(filepath.Dir(books[0]), o.Inventory)
	o.Loader = newLoader(o.Env, f.rolesPath)
	o.Loader.ImportName = runner.ImportName(o)
	o.ForceHandlers = f.forceHandlers
	o.Check, o.Diff, o.Tags, o.SkipTags = f.check, f.diff, splitTags(f.tags), splitTags(f.skip)
	return o, nil
}

// carryOut runs, and shows what happens.
func (f *runFlags) carryOut(cmd *cobra.Command, o runner.Options) error {
	ctx, cancel := limited(cmd.Context(), f.timeLimit)
	defer cancel()
	sink, done, err := printer(f.outputFormat, f.verbosity, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	o.Sink, o.Ask = sink, asker(cmd)
	summary, err := runner.Run(ctx, o)
	done()
	if _, old := prune(cmd.Context(), keptByDefault, false); old != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "[WARNING]: %v\n", old)
	}
	if summary.Exit != runner.ExitOK || err != nil {
		return exitError{summary.Exit, err}
	}
	return nil
}

// limited is ctx with an end after the run's time limit, if there is one.
func limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("the time limit of the run, %s, has passed", limit))
}

// options are what all commands that talk to hosts have in common.
func (f *connectFlags) options(cmd *cobra.Command) (runner.Options, error) {
	o := runner.Options{Sources: f.inventory, Limit: f.limit, Forks: f.forks, Connections: f.links, Verbosity: f.verbosity, Mask: &event.Mask{}, Version: programVersion(),
		Shared: shared(cmd.Context())}
	var errs []error
	var err error
	o.Inventory, err = inventory.Load(cmd.Context(), f.inventory)
	errs = append(errs, err)
	o.Login, err = f.login(cmd)
	errs = append(errs, err)
	o.Carried, err = carried()
	return o, errors.Join(append(errs, err)...)
}

func (f *connectFlags) login(cmd *cobra.Command) (runner.Login, error) {
	l := runner.Login{User: f.user, KeyFiles: f.keyFiles, Args: f.sshArgs, Connection: f.connection, TimeoutSeconds: f.timeout, Retries: f.retries,
		Become: f.become, BecomeMethod: f.becomeHow, BecomeUser: f.becomeUser}
	var errs []error
	if f.hostKeys != "" {
		policy, err := conn.ParseHostKeyPolicy(f.hostKeys)
		l.HostKeys, errs = policy, append(errs, err)
	}
	var err error
	l.Password, err = secret(cmd, f.askPass, f.passFile, "SSH password: ")
	errs = append(errs, err)
	l.BecomePassword, err = secret(cmd, f.askBecome, f.becomeFile, "BECOME password: ")
	return l, errors.Join(append(errs, err)...)
}

// secret reads a password from a file, or asks for it at the terminal.
func secret(cmd *cobra.Command, ask bool, file, prompt string) (conn.Secret, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("cannot read a password: %w", err)
		}
		return conn.Secret(strings.TrimRight(string(text), "\r\n")), nil
	}
	if !ask {
		return "", nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", errors.New("cannot ask for a password: there is no terminal; use a password file")
	}
	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	text, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	return conn.Secret(text), err
}

// printer is the sink that shows a run; done takes its last traces off the screen.
func printer(format string, verbosity int, out io.Writer) (event.Sink, func(), error) {
	file, isFile := out.(*os.File)
	tty := isFile && term.IsTerminal(int(file.Fd()))
	if format == "auto" {
		format = "plain"
		if tty && os.Getenv("TERM") != "dumb" {
			format = "live"
		}
	}
	switch format {
	case "json":
		return event.NewJSON(out), func() {}, nil
	case "plain":
		p := event.NewPlain(out)
		p.Verbosity, p.Color = verbosity, tty && os.Getenv("NO_COLOR") == "" || os.Getenv("ANSIBLE_FORCE_COLOR") != ""
		return p, func() {}, nil
	case "live":
		width := 80
		if w, _, err := term.GetSize(int(file.Fd())); err == nil {
			width = w
		}
		l := event.NewLive(out, width, verbosity)
		return l, l.Close, nil
	}
	return nil, nil, fmt.Errorf("cannot print as %q: --output is auto, plain, live or json", format)
}

func splitTags(args []string) []string {
	var tags []string
	for _, a := range args {
		for _, t := range strings.Split(a, ",") {
			if t = strings.TrimSpace(t); t != "" {
				tags = append(tags, t)
			}
		}
	}
	return tags
}

// list prints what a run would do.
func (f *runFlags) list(out io.Writer, o runner.Options) error {
	books, exit, err := runner.Check(o)
	if err != nil {
		return exitError{exit, err}
	}
	for _, book := range books {
		what := playbooks.Listing{Tasks: f.listTasks, Tags: f.listTags, Only: splitTags(f.tags), Skip: splitTags(f.skip)}
		if f.listHosts {
			what.Hosts = func(p *playbooks.Play) []string {
				hosts, _ := o.HostsOf(p)
				return hosts
			}
		}
		if err := book.List(out, what); err != nil {
			return err
		}
	}
	return nil
}
