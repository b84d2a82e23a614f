package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
)

// Local returns a Conn to the machine this program runs on. Commands run with /bin/sh.
func Local() Conn {
	return &localConn{running: make(map[*localProcess]struct{})}
}

// localName is how errors call this machine.
const localName = "localhost"

type localConn struct {
	mu      sync.Mutex // guards the fields below
	running map[*localProcess]struct{}
	closed  bool
}

func localError(op string, err error) error {
	if err == nil || interrupted(err) {
		return err
	}
	return &Error{Kind: Failed, Op: op, Host: localName, Detail: err.Error(), Err: err}
}

func (c *localConn) check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	return nil
}

// Put writes a temporary file beside the real one and renames it.
func (c *localConn) Put(ctx context.Context, file string, mode fs.FileMode, r io.Reader) error {
	if err := c.check(); err != nil {
		return localError(putOp, err)
	}
	return localError(putOp, putLocal(ctx, file, mode, r))
}

func putLocal(ctx context.Context, file string, mode fs.FileMode, r io.Reader) (err error) {
	temporary := filepath.Join(filepath.Dir(file), temporaryName())
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = os.Remove(temporary)
		}
	}()
	sent, err := io.Copy(f, &interruptible{ctx, r})
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != sent {
		return fmt.Errorf("%s: %d bytes arrived of %d", file, info.Size(), sent)
	}
	if err := errors.Join(f.Chmod(mode), f.Sync()); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(temporary, file)
}

// Dial connects from this machine.
func (c *localConn) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	op := "connect to " + addr + " from"
	if err := c.check(); err != nil {
		return nil, localError(op, err)
	}
	channel, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, &Error{Kind: Failed, Op: op, Host: localName, Detail: explainNet(addr, err), Err: err}
	}
	return channel, nil
}

// Start runs cmd with /bin/sh.
func (c *localConn) Start(ctx context.Context, cmd string) (Process, error) {
	const op = "start a command on"
	p := &localProcess{c: c, ctx: ctx, exited: make(chan struct{})}
	// Waiting must not close the output before it is read, as exec's own pipes would.
	output, outputEnd, err := os.Pipe()
	if err != nil {
		return nil, localError(op, err)
	}
	defer outputEnd.Close()
	p.cmd = exec.CommandContext(ctx, "/bin/sh", "-c", cmd)
	p.cmd.SysProcAttr = ownGroup()
	p.cmd.Cancel = func() error { return killGroup(p.cmd.Process) }
	p.cmd.WaitDelay = lastWordsTime
	p.cmd.Stdout, p.cmd.Stderr, p.output = outputEnd, &p.errs, output
	if p.input, err = p.cmd.StdinPipe(); err == nil {
		err = c.begin(p)
	}
	if err != nil {
		output.Close()
		return nil, localError(op, err)
	}
	go p.wait()
	return p, nil
}

// begin starts the process unless the Conn is closed.
func (c *localConn) begin(p *localProcess) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	c.running[p] = struct{}{}
	return nil
}

// Close kills what runs.
func (c *localConn) Close() error {
	c.mu.Lock()
	c.closed = true
	running := make([]*localProcess, 0, len(c.running))
	for p := range c.running {
		running = append(running, p)
	}
	c.mu.Unlock()
	for _, p := range running {
		p.kill(ErrClosed)
		<-p.exited
	}
	return nil
}

// localProcess is a child process.
type localProcess struct {
	c      *localConn
	ctx    context.Context
	cmd    *exec.Cmd
	input  io.WriteCloser
	output *os.File
	errs   tail

	killed atomic.Pointer[error] // why, once killed
	exited chan struct{}         // closed when exit and err are set
	exit   int
	err    error
}

// wait reaps the process and notes how it ended.
func (p *localProcess) wait() {
	_ = p.cmd.Wait()
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	p.exit = status.ExitStatus()
	if status.Signaled() {
		p.exit = 128 + int(status.Signal())
		if p.ctx.Err() != nil {
			p.exit, p.err = -1, context.Cause(p.ctx)
		}
	}
	if why := p.killed.Load(); why != nil {
		p.exit, p.err = -1, *why
	}
	p.c.mu.Lock()
	delete(p.c.running, p)
	p.c.mu.Unlock()
	close(p.exited)
}

func (p *localProcess) Read(b []byte) (int, error) {
	n, err := p.output.Read(b)
	if err == nil || n > 0 {
		return n, nil
	}
	p.output.Close()
	if p.killed.Load() != nil || p.ctx.Err() != nil {
		<-p.exited
		return 0, p.err
	}
	return 0, io.EOF
}

func (p *localProcess) Write(b []byte) (int, error) {
	n, err := p.input.Write(b)
	if err != nil {
		err = fmt.Errorf("the command has closed its input: %w", errors.Join(io.ErrClosedPipe, err))
	}
	return n, err
}

func (p *localProcess) CloseWrite() error {
	if err := p.input.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (p *localProcess) Wait() (int, error) {
	<-p.exited
	return p.exit, p.err
}

func (p *localProcess) Stderr() string { return p.errs.String() }

func (p *localProcess) stderrTail() *tail { return &p.errs }

func (p *localProcess) Kill() error {
	p.kill(ErrKilled)
	return nil
}

func (p *localProcess) kill(why error) {
	select {
	case <-p.exited:
	default:
		if p.killed.CompareAndSwap(nil, &why) {
			_ = killGroup(p.cmd.Process)
		}
	}
}
