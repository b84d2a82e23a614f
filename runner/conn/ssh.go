package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshConn is a Conn over SSH.
type sshConn struct {
	t       *target
	client  *ssh.Client
	link    *link
	release func()        // gives up the jump hosts; nil without
	noSFTP  atomic.Bool   // the server has no usable sftp
	lost    chan struct{} // closed when the connection is over
	lostErr error         // why; set before lost is closed
	end     sync.Once     // sets lostErr and closes lost

	mu        sync.Mutex // guards running
	running   map[*sshProcess]struct{}
	closeOnce sync.Once
}

func newSSHConn(t *target, client *ssh.Client, l *link) *sshConn {
	c := &sshConn{t: t, client: client, link: l, lost: make(chan struct{}), running: make(map[*sshProcess]struct{})}
	go func() { c.lose(lostReason(client.Wait())) }()
	if t.keepalive > 0 {
		go c.keepAlive()
	}
	return c
}

func lostReason(err error) error {
	if err == nil || cutShort(err) {
		return errors.New("the host closed the connection")
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// lose notes that the connection is over; the first reason counts.
func (c *sshConn) lose(why error) {
	c.end.Do(func() {
		c.lostErr = why
		close(c.lost)
		_ = c.client.Close()
	})
}

func (c *sshConn) over() bool {
	select {
	case <-c.lost:
		return true
	default:
		return false
	}
}

// lostError is the error of everything tried on a connection that is over.
func (c *sshConn) lostError(op string) error {
	kind := Unreachable
	if errors.Is(c.lostErr, ErrClosed) {
		kind = Failed
	}
	return &Error{Kind: kind, Op: op, Host: c.t.name(), Detail: c.lostErr.Error(), Err: c.lostErr}
}

// keepAlive asks a silent link for a sign of life, and gives it up when there is none.
func (c *sshConn) keepAlive() {
	limit := c.t.keepalive * time.Duration(c.t.keepaliveCount)
	ticker := time.NewTicker(c.t.keepalive)
	defer ticker.Stop()
	for {
		select {
		case <-c.lost:
			return
		case <-ticker.C:
		}
		silence := c.link.silence()
		if silence > limit {
			c.lose(fmt.Errorf("no sign of life for %s", seconds(silence)))
			return
		}
		if silence >= c.t.keepalive {
			// It blocks until the answer comes or the connection ends.
			go func() { _, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil) }()
		}
	}
}

// Close kills what runs and closes the connection.
func (c *sshConn) Close() error {
	c.closeOnce.Do(func() {
		c.mu.Lock()
		running := make([]*sshProcess, 0, len(c.running))
		for p := range c.running {
			running = append(running, p)
		}
		c.mu.Unlock()
		c.killAll(running)
		c.lose(ErrClosed)
		if c.release != nil {
			c.release()
		}
	})
	return nil
}

// killAll kills processes and waits until the server has confirmed it: closing the
// connection earlier could overtake the signals.
func (c *sshConn) killAll(running []*sshProcess) {
	var all sync.WaitGroup
	for _, p := range running {
		all.Go(func() {
			p.kill(ErrClosed)
			select {
			case <-p.exited:
			case <-c.lost:
			}
		})
	}
	all.Wait()
}

// Dial opens a connection from the host.
func (c *sshConn) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	op := "connect to " + addr + " from"
	if c.over() {
		return nil, c.lostError(op)
	}
	channel, err := c.client.DialContext(ctx, network, addr)
	switch {
	case err == nil:
		return forward(channel, addr), nil
	case ctx.Err() != nil:
		return nil, &Error{Kind: Failed, Op: op, Host: c.t.name(), Detail: "it took too long or was interrupted", Err: ctx.Err()}
	case c.overSoon():
		return nil, c.lostError(op)
	}
	return nil, channelError(op, c.t.name(), err)
}

// overSoon tells whether the connection is over, for callers that have just seen a sign of
// it: the channels of a dying connection close a moment before it says why.
func (c *sshConn) overSoon() bool {
	select {
	case <-c.lost:
		return true
	case <-time.After(drainTime):
		return false
	}
}

// openSession opens a session channel. Servers free the slot of a session that has just ended only when they have collected its processes, which
// takes a busy host seconds, so a refusal is final only after some attempts.
func (c *sshConn) openSession(ctx context.Context, op string) (ssh.Channel, <-chan *ssh.Request, error) {
	const attempts = 12
	for attempt, pause := 1, 10*time.Millisecond; ; attempt, pause = attempt+1, min(2*pause, time.Second) { // some six seconds
		ch, requests, err := c.client.OpenChannel("session", nil)
		if err == nil {
			return ch, requests, nil
		}
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) {
			c.overSoon()
			if c.over() {
				return nil, nil, c.lostError(op)
			}
			return nil, nil, channelError(op, c.t.name(), err)
		}
		if attempt == attempts || sleep(ctx, pause) != nil {
			return nil, nil, &Error{Kind: Failed, Op: op, Host: c.t.name(), Err: ErrNoSession,
				Detail: "the server refuses another session (" + refused.Message + ")",
				Hint:   "MaxSessions in its sshd_config bounds the sessions of one connection; calroll needs one"}
		}
	}
}

// begun is what begin leaves behind.
type begun struct {
	ch       ssh.Channel
	requests <-chan *ssh.Request
	err      error
}

// begin opens a session and makes a request on it, usually exec. It returns early when ctx
// ends; a session that opens too late is closed.
func (c *sshConn) begin(ctx context.Context, op string, request func(ssh.Channel) error) (ssh.Channel, <-chan *ssh.Request, error) {
	if c.over() {
		return nil, nil, c.lostError(op)
	}
	done := make(chan begun, 1)
	go func() {
		ch, requests, err := c.openSession(ctx, op)
		if err == nil {
			if err = request(ch); err != nil {
				_ = ch.Close()
				go ssh.DiscardRequests(requests)
			}
		}
		done <- begun{ch, requests, err}
	}()
	select {
	case b := <-done:
		if b.err != nil && c.over() {
			b.err = c.lostError(op)
		}
		return b.ch, b.requests, b.err
	case <-ctx.Done():
		go func() {
			if b := <-done; b.err == nil {
				_ = b.ch.Close()
				ssh.DiscardRequests(b.requests)
			}
		}()
		return nil, nil, ctx.Err()
	}
}

// Start runs cmd with /bin/sh, which the login shell becomes.
func (c *sshConn) Start(ctx context.Context, cmd string) (Process, error) {
	return c.start(ctx, cmd, false)
}

// startTTY is Start with a terminal.
func (c *sshConn) startTTY(ctx context.Context, cmd string) (Process, error) {
	return c.start(ctx, cmd, true)
}

func (c *sshConn) start(ctx context.Context, cmd string, tty bool) (Process, error) {
	const op = "start a command on"
	m := newMarker()
	ch, requests, err := c.begin(ctx, op, func(ch ssh.Channel) error {
		if tty {
			if ok, err := ch.SendRequest("pty-req", true, rawTerminal()); err != nil || !ok {
				return &Error{Kind: Failed, Op: op, Host: c.t.name(), Detail: "the server gives no terminal", Err: err}
			}
		}
		if ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{announce(m, cmd)})); err != nil || !ok {
			return &Error{Kind: Failed, Op: op, Host: c.t.name(), Detail: "the server does not run commands", Err: err}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c.watch(ctx, ch, requests, m, tty), nil
}

// watch makes a Process of a session.
func (c *sshConn) watch(ctx context.Context, ch ssh.Channel, requests <-chan *ssh.Request, m marker, tty bool) *sshProcess {
	p := &sshProcess{c: c, ch: ch, tty: tty, m: m, begun: make(chan struct{}), exited: make(chan struct{}), drained: make(chan struct{})}
	c.mu.Lock()
	c.running[p] = struct{}{}
	c.mu.Unlock()
	go p.awaitMarker()
	go p.readStderr()
	go p.readRequests(requests)
	p.stop = context.AfterFunc(ctx, func() { p.kill(context.Cause(ctx)) })
	return p
}

// rawTerminal is the payload of a pty-req for a terminal that changes no byte, echoes
// nothing and gives no key a meaning (RFC 4254, section 8).
func rawTerminal() []byte {
	off := []byte{30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, // IGNPAR to IMAXBEL
		50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, // ISIG to PENDIN
		70, 71, 72, 73, 74, 75, 92} // OPOST to ONLRET, PARENB
	var modes []byte
	set := func(mode byte, value uint32) {
		modes = append(modes, ssh.Marshal(struct {
			Mode  byte
			Value uint32
		}{mode, value})...)
	}
	for _, mode := range off {
		set(mode, 0)
	}
	set(91, 1) // CS8
	set(ssh.TTY_OP_ISPEED, 38400)
	set(ssh.TTY_OP_OSPEED, 38400)
	return ssh.Marshal(struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{"dumb", 80, 24, 0, 0, string(append(modes, 0))})
}
