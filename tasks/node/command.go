package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/calroll/calroll/tasks"
)

var _ = register("command", func() tasks.Module { return &Command{} })

// Command runs a program, without a shell between.
type Command struct {
	Cmd  string   `arg:"cmd,freeform" doc:"the program and its arguments, split as a shell splits words"`
	Argv []string `arg:"argv" doc:"the program and its arguments as a list"`
	commandArgs

	StripEmptyEnds bool   `arg:"strip_empty_ends,default=yes" doc:"take empty lines off the end of stdout and stderr"`
	Executable     string `arg:"executable" doc:"ignored, as under Ansible; shell has it"`
}

// commandArgs are what command and shell share.
type commandArgs struct {
	Chdir     tasks.Path `arg:"chdir" doc:"folder to run in"`
	Creates   tasks.Path `arg:"creates" doc:"do not run when a file of this name or pattern exists"`
	Removes   tasks.Path `arg:"removes" doc:"do not run unless a file of this name or pattern exists"`
	Stdin     *string    `arg:"stdin" doc:"what the program reads"`
	StdinLine bool       `arg:"stdin_add_newline,default=yes" doc:"end stdin with a newline"`
}

// Rules are Ansible's, but a task with neither is refused before anything runs.
func (*Command) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"cmd", "argv"}}, RequiredOneOf: [][]string{{"cmd", "argv"}}}
}

// Run runs the program, unless creates or removes say otherwise.
func (m *Command) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	if m.Executable != "" {
		sys.Warn("As of Ansible 2.4, the parameter 'executable' is no longer supported with the 'command' module. Not using '%s'.", m.Executable)
	}
	c := call{commandArgs: m.commandArgs, argv: m.Argv, shown: m.Argv, strip: m.StripEmptyEnds}
	if len(m.Argv) == 0 {
		words, err := tasks.SplitWords(m.Cmd)
		if err != nil {
			return tasks.Result{}, fail("cannot split the command into words: %v: %s", err, m.Cmd)
		}
		c.argv, c.shown = words, words
	}
	if len(c.argv) == 0 {
		return noCommand(), nil
	}
	env := sys.Env()
	expanded := make([]string, len(c.argv))
	for i, word := range c.argv {
		expanded[i] = expandHome(expandVars(word, env), env)
	}
	c.argv = expanded
	return c.run(ctx, sys)
}

func noCommand() tasks.Result {
	c := call{}
	r := c.result()
	r.Set("rc", 256)
	r.Failed, r.Msg = true, "no command given"
	return r
}

// call is one use of command or shell.
type call struct {
	commandArgs
	argv  []string // what runs
	shown any      // what the result calls cmd: a list, or a shell's text
	strip bool
}

func (c *call) run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	r := c.result()
	if dir := c.Chdir.Expand(); dir != "" {
		if err := enterable(dir); err != nil {
			r.Failed, r.Msg = true, "Unable to change directory before execution: "+pythonError(err, dir)
			return r, nil
		}
	}
	if c.needless(&r, sys.Check()) {
		return r, nil
	}
	if sys.Check() {
		r.Set("rc", 0)
		r.Set("msg", "Command would have run if not in check mode")
		r.Changed = c.Creates != "" || c.Removes != ""
		r.Skipped = !r.Changed
		return r, nil
	}
	out, err := c.exec(ctx, sys)
	if err != nil {
		return c.notStarted(err)
	}
	if out.Truncated {
		sys.Warn("the output of the command was too long: only its beginning was kept")
	}
	c.report(&r, out)
	return r, nil
}

// result is a result before anything ran.
func (c *call) result() tasks.Result {
	var r tasks.Result
	for _, name := range []string{"rc", "start", "end", "delta"} {
		r.Set(name, nil)
	}
	r.Set("cmd", c.shown)
	r.Set("msg", "")
	setOutput(&r, "", "")
	return r
}

func setOutput(r *tasks.Result, stdout, stderr string) {
	r.Set("stdout", stdout)
	r.Set("stdout_lines", splitLines(stdout))
	r.Set("stderr", stderr)
	r.Set("stderr_lines", splitLines(stderr))
}

// needless tells whether creates or removes say that there is nothing to do, and says so in the result.
func (c *call) needless(r *tasks.Result, check bool) bool {
	would := "Did"
	if check {
		would = "Would"
	}
	why, path := "exists", c.Creates.Expand()
	switch {
	case c.Creates != "" && c.matches(c.Creates):
	case c.Removes != "" && !c.matches(c.Removes):
		why, path = "does not exist", c.Removes.Expand()
	default:
		return false
	}
	r.Set("rc", 0)
	r.Set("msg", fmt.Sprintf("%s not run command since '%s' %s", would, path, why))
	setOutput(r, fmt.Sprintf("skipped, since %s %s", path, why), "")
	return true
}

func (c *call) matches(pattern tasks.Path) bool {
	path := pattern.Expand()
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Chdir.Expand(), path)
	}
	found, err := filepath.Glob(path)
	return err == nil && len(found) > 0 || exists(path)
}

func (c *call) exec(ctx context.Context, sys *tasks.Sys) (tasks.Output, error) {
	if _, err := sys.LookPath(c.argv[0]); err != nil {
		return tasks.Output{}, syscall.ENOENT
	}
	cmd := tasks.Cmd{Argv: c.argv, Dir: c.Chdir.Expand(), Alters: true}
	if c.Stdin != nil {
		cmd.Stdin = []byte(*c.Stdin)
		if c.StdinLine && *c.Stdin != "" {
			cmd.Stdin = append(cmd.Stdin, '\n')
		}
	}
	return sys.Exec(ctx, cmd)
}

// notStarted is the result when the program could not be started, Ansible's for an OSError; other errors stay errors.
func (c *call) notStarted(err error) (tasks.Result, error) {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return tasks.Result{}, err
	}
	var r tasks.Result
	r.Set("cmd", shellJoin(c.argv))
	r.Set("rc", int(no))
	setOutput(&r, "", "")
	r.Failed, r.Msg = true, pythonError(no, c.argv[0])
	return r, nil
}

func (c *call) report(r *tasks.Result, out tasks.Output) {
	stdout, stderr := validText(out.Stdout), validText(out.Stderr)
	if c.strip {
		stdout, stderr = strings.TrimRight(stdout, "\r\n"), strings.TrimRight(stderr, "\r\n")
	}
	setOutput(r, stdout, stderr)
	start, end := out.Start.Truncate(time.Microsecond), out.End.Truncate(time.Microsecond)
	r.Set("start", start.Format(pythonTime))
	r.Set("end", end.Format(pythonTime))
	r.Set("delta", pythonDelta(end.Sub(start)))
	r.Set("rc", out.Code)
	r.Changed = true
	if out.Code != 0 {
		r.Failed, r.Msg = true, "non-zero return code"
	}
}

// validText is output as text: bytes that are no UTF-8 become U+FFFD, since JSON has no way to carry them.
func validText(raw []byte) string { return string([]rune(string(raw))) }

const pythonTime = "2006-01-02 15:04:05.000000"

// pythonDelta writes a duration as Python's timedelta does: 0:00:01.504793, 2 days, 0:00:01.
func pythonDelta(d time.Duration) string {
	days, text := d/(24*time.Hour), ""
	switch d -= days * 24 * time.Hour; days {
	case 0:
	case 1:
		text = "1 day, "
	default:
		text = fmt.Sprintf("%d days, ", days)
	}
	text += fmt.Sprintf("%d:%02d:%02d", d/time.Hour, d/time.Minute%60, d/time.Second%60)
	if micros := d % time.Second / time.Microsecond; micros != 0 {
		text += fmt.Sprintf(".%06d", micros)
	}
	return text
}

// pythonError writes a system call's error as Python does, since playbooks match on it.
func pythonError(err error, what string) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	text := no.Error()
	return fmt.Sprintf("[Errno %d] %s: b'%s'", int(no), strings.ToUpper(text[:1])+text[1:], what)
}

// enterable tells why a folder cannot be made the current one.
func enterable(dir string) error {
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !st.IsDir():
		return syscall.ENOTDIR
	}
	return syscall.Access(dir, 1)
}
