package remote

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/calroll/calroll/tasks"
)

// Host is what Open needs of a way to a host. Its funcs may be called from several goroutines.
type Host struct {
	Name string // for messages

	// Start runs a command as the identity: through the login user's shell, and sudo or the like when that is another user.
	// The command is killed when ctx ends.
	Start func(ctx context.Context, cmd string) (Process, error)

	// Login runs a command as the login user. It may be nil when that is the identity.
	Login func(ctx context.Context, cmd string) (Process, error)

	// Put writes a file as the login user, whole or not at all.
	Put func(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error

	// Kind says what an error of these funcs and of their Processes means. It may be nil if they are *tasks.Error.
	Kind func(error) tasks.Kind
}

func (h Host) kind(err error) tasks.Kind {
	if h.Kind == nil {
		return tasks.KindOf(err)
	}
	return h.Kind(err)
}

// Process is a command that was started on the host: Read is its standard output, Write its standard input.
type Process interface {
	io.ReadWriter
	CloseWrite() error
	Wait() (exit int, err error)
	Stderr() string // the end of it
	Kill() error
}

// Options of Open.
type Options struct {
	Helpers Helpers
	// StartTimeout bounds each step of the start but the upload; zero means a minute.
	StartTimeout time.Duration
	// Pushed, if set, is told that the helper is about to be sent to the host.
	Pushed func(h Helper)
}

// Open starts the helper on a host, after sending it there if the host does not have it, and returns its client. On a host that
// has it, this takes one round trip. ctx covers the start only; Close ends the helper. Errors are *tasks.Error: Unreachable,
// Denied, Refused (no folder that is safe), Failed (no room, no program for this kind of host), or those of Host's funcs.
func Open(ctx context.Context, h Host, o Options) (*Client, error) {
	if o.StartTimeout == 0 {
		o.StartTimeout = time.Minute
	}
	if h.Login == nil {
		h.Login = h.Start
	}
	op := &opening{host: h, o: o, marker: random()}
	c, err := op.start(ctx)
	var cold *coldHost
	if !errors.As(err, &cold) {
		return c, err
	}
	if err := op.install(ctx, cold); err != nil {
		return nil, err
	}
	if c, err = op.start(ctx); errors.As(err, &cold) {
		return nil, op.failure(tasks.Failed, "it was installed and does not start: "+cold.Error())
	}
	return c, err
}

// opening is one Open.
type opening struct {
	host   Host
	o      Options
	marker string
}

func random() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (op *opening) failure(kind tasks.Kind, why string) error {
	return &tasks.Error{Kind: kind, Op: "start the helper on " + op.host.Name, Detail: why}
}

// coldHost says that there is no helper, or one that does not run.
type coldHost struct {
	system, machine string
	notes           []string // about folders that were passed over
	broken          string   // how a helper that is there failed
}

// Error says why the helper did not start.
func (c *coldHost) Error() string {
	if c.broken != "" {
		return c.broken
	}
	return "it is not there"
}

// start executes the helper and returns its client, or a *coldHost.
func (op *opening) start(ctx context.Context) (*Client, error) {
	p, lines, err := op.command(ctx, op.host.Start, startScript(op.marker, op.o.Helpers.List))
	if err != nil {
		return nil, err
	}
	defer lines.end()
	var cold coldHost
	for {
		l, err := lines.next()
		if err != nil {
			defer p.kill()
			return nil, op.explain(ctx, p, lines, &cold, err)
		}
		switch l.word {
		case wordHello:
			return op.hello(ctx, p, lines)
		case wordStart:
			cold.system = "Linux" // a helper is there, so it is
			cold.machine, _, _ = strings.Cut(l.text, " ")
			cold.broken = l.text
		case wordCold:
			f := append(strings.Fields(l.text), "", "")
			cold.system, cold.machine, cold.broken = f[0], f[1], ""
			defer p.kill()
			_, _ = p.wait() // frees its place on the connection; how it ended was said already
			return nil, &cold
		case wordNote:
			cold.notes = append(cold.notes, l.text)
		}
	}
}

func (op *opening) hello(ctx context.Context, p *processLink, lines *lineReader) (*Client, error) {
	c, err := newClient(op.host.Name, p, lines.in)
	if err != nil {
		_ = p.Close()
		if ctx.Err() != nil {
			err = op.canceled(ctx)
		}
		return nil, err
	}
	return c, nil
}

// explain says why the command ended before the helper's first word. A helper that is there and died is cold.
func (op *opening) explain(ctx context.Context, p *processLink, lines *lineReader, cold *coldHost, err error) error {
	switch {
	case ctx.Err() != nil:
		return op.canceled(ctx)
	case errors.Is(err, errNoise):
		return op.failure(tasks.Failed, err.Error()+lines.heard(p))
	case lines.late.Load():
		return op.failure(tasks.Unreachable, fmt.Sprintf("it did not answer for %v%s", op.o.StartTimeout, lines.heard(p)))
	}
	exit, waitErr := p.wait()
	switch {
	case waitErr != nil:
		return op.hostError(waitErr)
	case !errors.Is(err, io.EOF):
		return op.hostError(err)
	case cold.broken != "":
		cold.broken = fmt.Sprintf("%s ended with status %d%s", cold.broken, exit, lines.heard(p))
		return cold
	}
	return op.failure(tasks.Failed, fmt.Sprintf("the shell ended with status %d%s", exit, lines.heard(p)))
}

func (op *opening) canceled(ctx context.Context) error {
	return &tasks.Error{Kind: tasks.Canceled, Op: "start the helper on " + op.host.Name, Err: context.Cause(ctx)}
}

// hostError passes on what the way to the host said.
func (op *opening) hostError(err error) error {
	return &tasks.Error{Kind: op.host.kind(err), Op: "start the helper on " + op.host.Name, Err: err}
}

// command starts a script. Its process outlives ctx: from the hello on, only the client ends it.
func (op *opening) command(ctx context.Context, start func(context.Context, string) (Process, error), script string) (*processLink, *lineReader, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	p, err := start(life, shellLine(script))
	if err != nil {
		stop()
		end()
		if ctx.Err() != nil {
			return nil, nil, op.canceled(ctx)
		}
		return nil, nil, op.hostError(err)
	}
	l := newProcessLink(p, end)
	lines := &lineReader{in: newFrameReader(p), marker: op.marker, stop: stop}
	lines.timer = time.AfterFunc(op.o.StartTimeout, func() {
		lines.late.Store(true)
		_ = p.Kill()
	})
	return l, lines, nil
}

// lineReader reads what a script says, as long as the start may take.
type lineReader struct {
	in     *frameReader
	marker string
	noise  tail
	stop   func() bool // stops watching the context
	timer  *time.Timer
	late   atomic.Bool
}

func (r *lineReader) next() (line, error) { return r.in.readLine(r.marker, &r.noise) }

// end stops watching: from here on the start can neither be canceled nor be late.
func (r *lineReader) end() {
	r.timer.Stop()
	r.stop()
}

// heard quotes the last words of a script that failed, to be added to a message.
func (r *lineReader) heard(p Process) string {
	said := strings.TrimSpace(r.noise.String() + "\n" + lastWords(p.Stderr()))
	if said == "" {
		return ", without a word"
	}
	return "; it said: " + said
}

func lastWords(s string) string {
	var t tail
	t.add([]byte(s))
	return t.String()
}

// install sends the helper to a stage and lets the identity copy it to where it belongs.
func (op *opening) install(ctx context.Context, cold *coldHost) error {
	h, err := op.o.Helpers.find(cold.system, cold.machine)
	if err != nil {
		return op.failure(tasks.Failed, err.Error())
	}
	if op.o.Pushed != nil {
		op.o.Pushed(h)
	}
	var tried []string
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm", ""} {
		if dir == "" {
			if dir = op.home(ctx); dir == "" {
				continue
			}
		}
		stage := dir + "/.calroll-" + random()
		if err := op.put(ctx, h, stage); err != nil {
			if ctx.Err() != nil {
				return op.canceled(ctx)
			}
			if op.host.kind(err) == tasks.Unreachable {
				return op.hostError(err)
			}
			tried = append(tried, err.Error())
			continue
		}
		again, err := op.unpack(ctx, h, stage)
		if err == nil || !again {
			return err
		}
		tried = append(tried, err.Error())
	}
	return op.failure(tasks.Failed, "it could not be sent there; tried were "+strings.Join(tried, "; "))
}

// put uploads the helper. It is no secret: any identity may read it, and none trusts it.
func (op *opening) put(ctx context.Context, h Helper, stage string) error {
	r, err := h.Open()
	if err != nil {
		return fmt.Errorf("cannot read the helper for %s: %w", h.Platform, err)
	}
	defer r.Close()
	return op.host.Put(ctx, stage, 0o644, r)
}

var plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._@+,:=-]*$`)

// home is the login user's home, if its name needs no quoting anywhere.
func (op *opening) home(ctx context.Context) string {
	p, lines, err := op.command(ctx, op.host.Login, fmt.Sprintf(`echo; n=%s; echo "%s $n $HOME"`, op.marker, wordNote))
	if err != nil {
		return ""
	}
	defer lines.end()
	defer p.kill()
	l, err := lines.next()
	if err != nil || !plainPath.MatchString(l.text) {
		return ""
	}
	_, _ = p.wait() // frees its place on the connection; how it ended was said already
	return l.text
}

// unpack runs the install script. again means that another stage may do better.
func (op *opening) unpack(ctx context.Context, h Helper, stage string) (again bool, err error) {
	notes, word, err := op.runInstall(ctx, h, stage)
	if err != nil {
		op.remove(ctx, stage)
		return false, err
	}
	if i := slices.Index(notes, "stage"); i >= 0 || word.word != wordStart {
		op.remove(ctx, stage)
	}
	if word.word == wordStart {
		return false, nil
	}
	switch word.text {
	case "sum":
		return false, op.failure(tasks.Failed, "the host has none of sha256sum, shasum and openssl, so the helper cannot be verified there")
	case "stage":
		return true, fmt.Errorf("%s cannot be read on the host", stage)
	}
	kind := tasks.Failed
	if strings.Contains(strings.Join(notes, "\n"), ": refused, because") {
		kind = tasks.Refused
	}
	return false, op.failure(kind, "there is no folder for it; tried were "+strings.Join(notes, "; "))
}

// runInstall returns the notes and the last word of the install script.
func (op *opening) runInstall(ctx context.Context, h Helper, stage string) (notes []string, last line, err error) {
	p, lines, err := op.command(ctx, op.host.Start, installScript(op.marker, stage, h))
	if err != nil {
		return nil, line{}, err
	}
	defer lines.end()
	defer p.kill()
	for {
		l, err := lines.next()
		if err != nil {
			return nil, line{}, op.explain(ctx, p, lines, &coldHost{}, err)
		}
		if l.word != wordNote {
			_, _ = p.wait() // frees its place on the connection; how it ended was said already
			return notes, l, nil
		}
		notes = append(notes, l.text)
	}
}

// remove takes the stage away, as the login user who owns it. Nothing depends on its success.
func (op *opening) remove(ctx context.Context, stage string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	p, lines, err := op.command(ctx, op.host.Login, "rm -f "+stage)
	if err != nil {
		return
	}
	defer lines.end()
	defer p.kill()
	_, _ = lines.next()
}
