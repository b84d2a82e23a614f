package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// link is the byte stream below SSH. It notes when the last bytes came, so that a busy
// connection needs no keepalive.
type link struct {
	net.Conn
	lastRead atomic.Int64          // unix nanoseconds
	ended    atomic.Pointer[error] // the first error of reading, nil before it
}

func newLink(c net.Conn) *link {
	l := &link{Conn: c}
	l.lastRead.Store(time.Now().UnixNano())
	return l
}

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.lastRead.Store(time.Now().UnixNano())
	}
	if err != nil {
		l.ended.CompareAndSwap(nil, &err)
	}
	return n, err
}

// silence is how long nothing has come.
func (l *link) silence() time.Duration { return time.Since(time.Unix(0, l.lastRead.Load())) }

// clock limits how long making a connection takes. It stands still while the user is asked.
type clock struct {
	mu      sync.Mutex // guards the fields below
	timer   *time.Timer
	limit   time.Duration
	expired bool
}

// startClock calls expire once when the limit is over; a limit that is not positive never is.
func startClock(limit time.Duration, expire func()) *clock {
	c := &clock{limit: limit}
	if limit > 0 {
		c.timer = time.AfterFunc(limit, func() {
			c.mu.Lock()
			c.expired = true
			c.mu.Unlock()
			expire()
		})
	}
	return c
}

func (c *clock) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// pause stops the clock and returns the function that lets it run again, from the start.
func (c *clock) pause() (resume func()) {
	c.stop()
	return func() {
		if c.timer != nil {
			c.timer.Reset(c.limit)
		}
	}
}

func (c *clock) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expired
}

// pipeConn is the connection that a ProxyCommand's input and output are.
type pipeConn struct {
	io.Reader
	io.WriteCloser
	cmd    *exec.Cmd
	stderr *tail
	closed sync.Once
}

// dialCommand runs a ProxyCommand with the local shell.
func dialCommand(command string) (*pipeConn, error) {
	cmd := exec.Command("/bin/sh", "-c", "exec "+command)
	cmd.SysProcAttr = ownGroup()
	cmd.WaitDelay = drainTime
	p := &pipeConn{cmd: cmd, stderr: &tail{}}
	cmd.Stderr = p.stderr
	var err error
	if p.WriteCloser, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.Reader, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// Close lets the command end by itself, so that what it has to say is there, before it kills it.
func (p *pipeConn) Close() error {
	p.closed.Do(func() {
		_ = p.WriteCloser.Close()
		impatient := time.AfterFunc(drainTime, func() { _ = killGroup(p.cmd.Process) })
		_ = p.cmd.Wait() // its status is of no interest
		impatient.Stop()
	})
	return nil
}

// A ProxyCommand has no addresses, and nothing here uses deadlines.

func (p *pipeConn) LocalAddr() net.Addr              { return commandAddr{} }
func (p *pipeConn) RemoteAddr() net.Addr             { return commandAddr{} }
func (p *pipeConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (p *pipeConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (p *pipeConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

type commandAddr struct{}

func (commandAddr) Network() string { return "command" }
func (commandAddr) String() string  { return "ProxyCommand" }

// forwarded is a connection made from a host. SSH channels know no deadlines, which
// HTTP and gRPC clients set, so an in-memory pipe that does stands before the channel.
type forwarded struct {
	net.Conn // our end of the pipe
	remote   string
}

func (f *forwarded) RemoteAddr() net.Addr { return forwardedAddr(f.remote) }

type forwardedAddr string

func (forwardedAddr) Network() string  { return "tcp" }
func (a forwardedAddr) String() string { return string(a) }

// forward returns a connection whose bytes go through channel, until either side closes.
func forward(channel net.Conn, remote string) net.Conn {
	ours, theirs := net.Pipe()
	shut := sync.OnceFunc(func() { channel.Close(); theirs.Close() })
	go func() { defer shut(); _, _ = io.Copy(channel, theirs) }()
	go func() { defer shut(); _, _ = io.Copy(theirs, channel) }()
	return &forwarded{ours, remote}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// seconds shows a duration for users.
func seconds(d time.Duration) string { return fmt.Sprintf("%.3g s", d.Seconds()) }
