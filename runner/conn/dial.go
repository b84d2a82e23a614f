package conn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Dialer makes SSH connections. One Dialer serves a whole run: it asks for a key's
// passphrase once, and all hosts behind a jump host share one connection to it. The zero
// value is ready.
type Dialer struct {
	// Log, if set, is told of retries and of banners that servers show before the login.
	Log func(host, message string)

	keys keyring

	mu   sync.Mutex // guards hops
	hops map[string]*hop
}

// hop is a shared connection to a jump host.
type hop struct {
	ready chan struct{} // closed once conn or err is set
	conn  *sshConn
	err   error
	users int // guarded by Dialer.mu
}

func (d *Dialer) log(host, format string, args ...any) {
	if d.Log != nil {
		d.Log(host, fmt.Sprintf(format, args...))
	}
}

// Dial connects and logs in to the host that o describes. Network errors are tried again as
// o says; the others, among them refused logins and host keys, are final.
func (d *Dialer) Dial(ctx context.Context, o Options) (Conn, error) {
	stops, err := route(o)
	if err != nil {
		return nil, err
	}
	t := stops[len(stops)-1]
	for attempt := 1; ; attempt++ {
		c, err := d.connect(ctx, stops)
		if err == nil {
			return c, nil
		}
		if KindOf(err) != Unreachable || ctx.Err() != nil || attempt > t.retries {
			return nil, afterAttempts(err, attempt)
		}
		wait := backoff(t.backoff, attempt)
		d.log(t.name(), "%v; trying again in %s", err, seconds(wait))
		if sleep(ctx, wait) != nil {
			return nil, afterAttempts(err, attempt)
		}
	}
}

// afterAttempts adds to an error how often it was tried.
func afterAttempts(err error, attempts int) error {
	var e *Error
	if attempts > 1 && errors.As(err, &e) && e.Kind == Unreachable {
		again := *e
		again.Detail += fmt.Sprintf(" (tried %d times)", attempts)
		return &again
	}
	return err
}

// maxBackoff is the longest pause between two attempts.
const maxBackoff = 30 * time.Second

// backoff returns the pause after the given attempt (from 1): doubling, and between half
// and all of it, so that many hosts do not come back at the same moment.
func backoff(base time.Duration, attempt int) time.Duration {
	d := min(base<<min(attempt-1, 16), maxBackoff)
	return d/2 + rand.N(d/2+1)
}

// connect makes one attempt to reach the last of the stops through the others.
func (d *Dialer) connect(ctx context.Context, stops []*target) (*sshConn, error) {
	t, before := stops[len(stops)-1], stops[:len(stops)-1]
	release := func() {}
	var raw net.Conn
	var err error
	switch {
	case len(before) > 0:
		raw, release, err = d.dialThrough(ctx, before, t)
	case t.proxyCommand != "":
		raw, err = dialCommand(t.proxyCommand)
	default:
		raw, err = (&net.Dialer{Timeout: max(t.connectTimeout, 0)}).DialContext(ctx, t.network, t.addr())
	}
	if err != nil {
		return nil, t.connectError(ctx, err)
	}
	c, err := d.handshake(ctx, raw, t)
	if err != nil {
		raw.Close()
		release()
		return nil, err
	}
	c.release = release
	return c, nil
}

// connectError explains why there is no connection; an *Error, say of a jump host, passes.
func (t *target) connectError(ctx context.Context, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{Kind: Failed, Op: "connect to", Host: t.name(), Detail: "interrupted", Err: ctx.Err()}
	}
	return netError("connect to", t.name(), t.addr(), err)
}

// dialThrough opens a connection from the last of the hops to t.
func (d *Dialer) dialThrough(ctx context.Context, hops []*target, t *target) (net.Conn, func(), error) {
	key := hopKey(hops)
	h, err := d.openHop(ctx, key, hops)
	if err != nil {
		return nil, nil, err
	}
	release := sync.OnceFunc(func() { d.closeHop(key, h) })
	limited, cancel := ctx, context.CancelFunc(func() {})
	if t.connectTimeout > 0 {
		limited, cancel = context.WithTimeout(ctx, t.connectTimeout)
	}
	defer cancel()
	raw, err := h.conn.client.DialContext(limited, "tcp", t.addr())
	if err == nil {
		return raw, release, nil
	}
	release()
	return nil, nil, hopError(hops[len(hops)-1], t, err)
}

// hopError explains why the jump host opened no connection to t.
func hopError(hop, t *target, err error) error {
	e := &Error{Kind: Unreachable, Op: "connect to", Host: t.name(), Err: err}
	var refused *ssh.OpenChannelError
	switch {
	case errors.As(err, &refused) && refused.Reason == ssh.Prohibited:
		e.Kind = Failed
		e.Detail = fmt.Sprintf("the jump host %s does not allow connections to %s", hop.name(), t.addr())
		e.Hint = "AllowTcpForwarding and PermitOpen in its sshd_config decide"
	case errors.As(err, &refused):
		e.Detail = fmt.Sprintf("the jump host %s cannot connect to %s: %s", hop.name(), t.addr(), strings.TrimSpace(refused.Message))
	case errors.Is(err, context.DeadlineExceeded):
		e.Detail = fmt.Sprintf("%s does not answer the jump host %s (timed out)", t.addr(), hop.name())
	case errors.Is(err, context.Canceled):
		return err
	default:
		e.Detail = "the connection to the jump host " + hop.name() + " was lost"
	}
	return e
}

// hopKey tells apart connections to jump hosts that must not be shared.
func hopKey(hops []*target) string {
	var key strings.Builder
	for _, t := range hops {
		fmt.Fprintf(&key, "%s@%s as %s by %q %q %s %s %q\n", t.user, t.addr(), t.knownName, t.keyFiles, t.agent, t.policy, t.proxyCommand, t.knownFiles)
	}
	return key.String()
}

// openHop returns the shared connection to the last of hops, making it if need be; each
// openHop needs one closeHop.
func (d *Dialer) openHop(ctx context.Context, key string, hops []*target) (*hop, error) {
	for {
		h, mine := d.joinHop(key)
		if mine {
			h.conn, h.err = d.connect(ctx, hops)
			close(h.ready)
		}
		select {
		case <-h.ready:
		case <-ctx.Done():
			d.closeHop(key, h)
			return nil, ctx.Err()
		}
		if h.err == nil {
			return h, nil
		}
		d.closeHop(key, h)
		// Whoever made the attempt may have been interrupted; that is not our error.
		if mine || ctx.Err() != nil || !errors.Is(h.err, context.Canceled) {
			return nil, h.err
		}
	}
}

// joinHop counts one more user of a hop; mine means that the caller has to connect it.
func (d *Dialer) joinHop(key string) (h *hop, mine bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h = d.hops[key]; h != nil && !h.dead() {
		h.users++
		return h, false
	}
	if d.hops == nil {
		d.hops = make(map[string]*hop)
	}
	h = &hop{ready: make(chan struct{}), users: 1}
	d.hops[key] = h
	return h, true
}

// dead tells whether a hop that was once ready is of no use any more.
func (h *hop) dead() bool {
	select {
	case <-h.ready:
	default:
		return false
	}
	return h.err != nil || h.conn.over()
}

// closeHop gives up one use of a hop, and the last one closes it.
func (d *Dialer) closeHop(key string, h *hop) {
	d.mu.Lock()
	h.users--
	last := h.users == 0
	if last && d.hops[key] == h {
		delete(d.hops, key)
	}
	d.mu.Unlock()
	if !last {
		return
	}
	go func() { // nobody needs to wait for it
		<-h.ready
		if h.conn != nil {
			_ = h.conn.Close()
		}
	}()
}

// handshake makes an SSH connection of raw.
func (d *Dialer) handshake(ctx context.Context, raw net.Conn, t *target) (*sshConn, error) {
	l := newLink(raw)
	timer := startClock(t.connectTimeout, func() { raw.Close() })
	defer timer.stop()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	known, err := readKnown(t.knownFiles, t.knownName)
	if err != nil {
		return nil, t.hostKeyError(err.Error(), "")
	}
	login := newLogin(ctx, t, &d.keys, timer.pause)
	login.link = l
	defer login.close()
	conn, channels, requests, err := ssh.NewClientConn(l, t.addr(), &ssh.ClientConfig{
		User: t.user, HostKeyCallback: t.checkHostKey, HostKeyAlgorithms: known.algorithms(), AuthCallback: login.next,
		BannerCallback: func(text string) error { d.log(t.name(), "%s", strings.TrimSpace(text)); return nil },
	})
	if err != nil {
		return nil, t.handshakeError(ctx, err, timer, raw, login)
	}
	return newSSHConn(t, ssh.NewClient(conn, channels, requests), l), nil
}

func (t *target) handshakeError(ctx context.Context, err error, timer *clock, raw net.Conn, l *login) error {
	var e *Error
	var negotiation *ssh.AlgorithmNegotiationError
	failed := func(kind Kind, detail string) error {
		return &Error{Kind: kind, Op: "connect to", Host: t.name(), Detail: detail, Err: err}
	}
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(ctx.Err(), context.Canceled):
		return t.connectError(ctx, err)
	case timer.over() || ctx.Err() != nil:
		return netError("connect to", t.name(), t.addr(), os.ErrDeadlineExceeded)
	case errors.As(err, &negotiation):
		return failed(Failed, "the server is too old or too strict: "+negotiation.Error())
	case strings.Contains(err.Error(), "disconnect, reason 2"), strings.Contains(err.Error(), "Too many authentication"):
		return &Error{Kind: Denied, Op: "log in to", Host: t.name(), Err: err, Detail: l.denial([]string{"no more attempts (MaxAuthTries)"}),
			Hint: "name the right key and set IdentitiesOnly yes, so that fewer keys are tried"}
	case !cutShort(err):
		return failed(Failed, "the SSH handshake failed: "+strings.ReplaceAll(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "), "ssh: ", ""))
	}
	if p, ok := raw.(*pipeConn); ok {
		_ = p.Close() // so that all it said is there
		return failed(Unreachable, "the ProxyCommand ended: "+strings.TrimSpace(p.stderr.String()))
	}
	return netError("connect to", t.name(), t.addr(), err)
}
