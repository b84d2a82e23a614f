package tasks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Cmd is a program to run.
type Cmd struct {
	Argv  []string
	Dir   string            // "" is the helper's
	Env   map[string]string // added to the helper's and the task's environment
	Stdin []byte
	// Without are beginnings of names of variables that the program does not get, whoever set them.
	Without []string
	// Alters says that the program may change the machine: what the task declared to undo it is recorded before it runs,
	// and in check mode it is not run. Programs that only look leave it false.
	Alters bool
	// MaxOutput bounds what is kept of each of stdout and stderr, in bytes; 0 is 16 MiB. The rest is read and dropped.
	MaxOutput int
}

// Output is what a program left.
type Output struct {
	Stdout, Stderr []byte
	Code           int // exit status; 128+n when signal n killed it
	Start, End     time.Time
	Truncated      bool // Stdout or Stderr is not all
}

// Exec runs a program to its end in a session of its own and waits until nobody holds its output any more, as Ansible does.
// When ctx ends, the whole process group is told to stop, and killed three seconds later. An exit status is no error.
func (s *Sys) Exec(ctx context.Context, c Cmd) (Output, error) {
	if c.Alters {
		if s.Check() {
			return Output{}, &Error{Kind: Internal, Op: "run " + c.name(), Detail: "this is check mode"}
		}
		if err := s.recordExec(ctx, c); err != nil {
			return Output{}, err
		}
	}
	env := s.Env()
	for k, v := range c.Env {
		if env == nil {
			env = map[string]string{}
		}
		env[k] = v
	}
	c.Env = s.marked(env, c)
	s.step("before exec")
	return run(ctx, c)
}

func (c Cmd) name() string {
	if len(c.Argv) == 0 {
		return "nothing"
	}
	return c.Argv[0]
}

// recordExec keeps, once a task, what undoes its commands, and for a handler what to fire again.
func (s *Sys) recordExec(ctx context.Context, c Cmd) error {
	if len(s.o.Undo) > 0 && !s.undoKept {
		b := Before{Kind: "exec", Key: c.name(), Was: "not run", After: "run"}
		s.mark = rand.Text()
		seq, err := s.recordSeq(ctx, b, execMeta{Undo: s.o.Undo, Mark: s.mark}, nil)
		if err != nil {
			return err
		}
		s.undoKept, s.undoSeq = true, seq
	}
	if s.o.Handler != nil && !s.refreshed {
		b := Before{Kind: "refresh", Key: "handler " + s.o.Handler.Module}
		if err := s.record(ctx, b, refreshMeta{Do: "handler", Handler: s.o.Handler}, nil); err != nil {
			return err
		}
		s.refreshed = true
	}
	return nil
}

const (
	defaultMaxOutput = 16 << 20
	stopGrace        = 3 * time.Second // between asking to stop and killing
)

func run(ctx context.Context, c Cmd) (Output, error) {
	op := "run " + c.name()
	if err := ctx.Err(); err != nil {
		return Output{}, &Error{Kind: Canceled, Op: op, Err: context.Cause(ctx)}
	}
	if len(c.Argv) == 0 {
		return Output{}, &Error{Kind: Failed, Op: op, Detail: "no program was given"}
	}
	cmd, err := c.command()
	if err != nil {
		return Output{}, failed(op, err)
	}
	stdout, stderr := newCapture(c.MaxOutput), newCapture(c.MaxOutput)
	if cmd.Stdout, err = stdout.pipe(); err == nil {
		cmd.Stderr, err = stderr.pipe()
	}
	out := Output{Start: time.Now()}
	if err == nil {
		err = cmd.Start()
	}
	stdout.release()
	stderr.release()
	if err != nil {
		stdout.stop()
		stderr.stop()
		return Output{}, failed(op, err)
	}
	err = wait(ctx, cmd, stdout, stderr)
	out.End, out.Stdout, out.Stderr = time.Now(), stdout.bytes(), stderr.bytes()
	out.Code, out.Truncated = exitCode(cmd), stdout.dropped || stderr.dropped
	return out, err
}

func (c Cmd) command() (*exec.Cmd, error) {
	path, err := c.lookPath()
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{Path: path, Args: c.Argv, Dir: c.Dir, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	cmd.Env = os.Environ()
	for k, v := range c.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool {
		return slices.ContainsFunc(c.Without, func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
	if c.Stdin != nil {
		cmd.Stdin = strings.NewReader(string(c.Stdin))
	}
	return cmd, nil
}

// sbin folders are searched too: an account's PATH often lacks them, and Ansible looks there.
var sbin = []string{"/usr/local/sbin", "/usr/sbin", "/sbin"}

// LookPath finds a program as Exec would: in PATH, then in the sbin folders.
func (s *Sys) LookPath(name string) (string, error) {
	return Cmd{Argv: []string{name}, Env: s.o.Env}.lookPath()
}

func (c Cmd) lookPath() (string, error) {
	name := c.Argv[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	dirs := os.Getenv("PATH")
	if p, ok := c.Env["PATH"]; ok {
		dirs = p
	}
	for _, dir := range slices.Concat(strings.Split(dirs, ":"), sbin) {
		path := dir + "/" + name
		if st, err := os.Stat(path); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("no program %q in the search path", name)
}

// wait ends when the program has ended and its output is closed, or some seconds after ctx.
func wait(ctx context.Context, cmd *exec.Cmd, outs ...*capture) error {
	var result error // set before ended is closed
	ended := make(chan struct{})
	go func() { // ends with the program, whose group is killed below if need be
		defer close(ended)
		result = cmd.Wait()
		for _, o := range outs {
			<-o.done
		}
	}()
	select {
	case <-ended:
		return exitError(result)
	case <-ctx.Done():
	}
	group := -cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // it may be gone already
	select {
	case <-ended:
	case <-time.After(stopGrace):
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	for _, o := range outs { // somebody outside of the group may hold it still
		o.stop()
	}
	<-ended
	return &Error{Kind: Canceled, Op: "finish " + cmd.Args[0], Detail: "it was stopped", Err: context.Cause(ctx)}
}

func exitError(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func exitCode(cmd *exec.Cmd) int {
	st := cmd.ProcessState
	if st == nil {
		return -1
	}
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return st.ExitCode()
}

// capture reads one output of a program.
type capture struct {
	max     int
	r, w    *os.File
	done    chan struct{} // closed when the reading has ended
	dropped bool

	mu  sync.Mutex // guards buf
	buf []byte
}

func newCapture(limit int) *capture {
	if limit <= 0 {
		limit = defaultMaxOutput
	}
	c := &capture{max: limit, done: make(chan struct{})}
	return c
}

func (c *capture) pipe() (*os.File, error) {
	var err error
	if c.r, c.w, err = os.Pipe(); err != nil {
		close(c.done)
		return nil, err
	}
	go c.read() // ends when every writer has closed, or at stop
	return c.w, nil
}

func (c *capture) read() {
	defer close(c.done)
	p := make([]byte, 32<<10)
	for {
		n, err := c.r.Read(p)
		c.mu.Lock()
		keep := min(n, c.max-len(c.buf))
		c.buf = append(c.buf, p[:keep]...)
		c.dropped = c.dropped || keep < n
		c.mu.Unlock()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.dropped = true
			}
			return
		}
	}
}

// release closes our copy of the writing end, which the program has now.
func (c *capture) release() {
	if c.w != nil {
		_ = c.w.Close()
	}
}

// stop ends the reading even though somebody still holds the writing end.
func (c *capture) stop() {
	if c.r != nil {
		_ = c.r.Close()
	}
}

func (c *capture) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.r.Close()
	return c.buf
}

// execMeta is the Meta of an exec record.
type execMeta struct {
	Undo []Invocation `json:"undo"`
	Mark string       `json:"mark,omitempty"` // the value of markName in the environment of the commands
}

// execKind undoes commands by the modules that their task declared. They run whenever the command began, so they must be
// able to run twice and to find nothing to do.
type execKind struct{ kindOptions }

// State cannot be told: whatever began is undone.
func (execKind) State(_ context.Context, b Before) (string, error) { return b.After, nil }

// Tidy ends what a helper that was killed left running: it would go on to alter the host after the undo.
func (execKind) Tidy(ctx context.Context, b Before) error {
	var m execMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return failed("read the record of "+b.Key, err)
	}
	if b.Done || m.Mark == "" {
		return nil
	}
	return endMarked(ctx, m.Mark)
}

// Restore runs the declared steps in their order.
func (k execKind) Restore(ctx context.Context, b Before, _ Kept, _ bool) error {
	var m execMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return failed("read the record of "+b.Key, err)
	}
	for _, inv := range m.Undo {
		if err := k.invoke(ctx, inv); err != nil {
			return err
		}
		k.Step("undo step run")
	}
	return nil
}

// invoke runs a module without recording. Its error goes to the screen and into the records of the run, which show nothing of a task with no_log.
func (k kindOptions) invoke(ctx context.Context, inv Invocation) error {
	err := k.call(ctx, inv)
	if err != nil && inv.NoLog {
		return &Error{Kind: KindOf(err), Op: "run " + inv.Module, Detail: "why is hidden, because its task says no_log"}
	}
	return err
}

func (k kindOptions) call(ctx context.Context, inv Invocation) error {
	op := "run " + inv.Module
	make, ok := k.Modules.Lookup(inv.Module)
	if !ok {
		return refused(op, "no module has this name")
	}
	m, errs := SpecOf(make()).Decode(inv.Args)
	if err := JoinArgErrors(inv.Module, errs); err != nil {
		return err
	}
	if inv.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, inv.Timeout, fmt.Errorf("it did not end within %v", inv.Timeout))
		defer cancel()
	}
	sys := NewSys(Options{Recorder: NoRecord{}, Env: inv.Env})
	defer func() { _ = sys.Close() }() // what is left is in the temporary folder
	if r := Run(ctx, m, sys); r.Failed {
		return &Error{Kind: Failed, Op: op + called(inv.Args), Detail: said(r)}
	}
	return nil
}

// programName is the name of a program, and not what a shell's text may begin with as well: PASSWORD=...
var programName = regexp.MustCompile(`^[\w./+-]+$`)

// called is the program that a command's module was given to run, or what another module is about, for messages. The arguments of the program are left
// out: they may be secret.
func called(args map[string]any) string {
	var words []string
	for _, name := range []string{"cmd", "_raw_params"} {
		if line, ok := args[name].(string); ok {
			words, _ = SplitWords(line) // what cannot be split is not named
		}
	}
	if argv, ok := args["argv"].([]any); ok && len(argv) > 0 {
		words = []string{fmt.Sprint(argv[0])}
	}
	if len(words) > 0 && programName.MatchString(words[0]) {
		return " " + words[0]
	}
	if name, ok := args["name"].(string); ok {
		return " " + name
	}
	return ""
}

// said is why a module failed, with the last line that its command wrote to standard error.
func said(r Result) string {
	stderr, _ := r.Values["stderr"].(string)
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return r.Msg + ": " + last
	}
	return r.Msg
}
