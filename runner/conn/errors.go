package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// Kind says which sort of thing went wrong, so that callers know what to do about it.
type Kind int

// The kinds of error.
const (
	Failed      Kind = iota // the host answered, and the answer was no
	Unreachable             // no such name, refused, timed out, or the connection was lost
	Denied                  // the login, or becoming another user, was refused
	HostKey                 // the host's key is unknown, changed or revoked
)

func (k Kind) String() string {
	return [...]string{"failed", "unreachable", "denied", "host key"}[k]
}

// Error is every error of this package that concerns a host.
type Error struct {
	Kind   Kind
	Op     string // what could not be done: "connect to", "start a command on", ...
	Host   string // as the user calls it
	Detail string // why, in the user's words
	Hint   string // what to do about it, or empty
	Err    error  // the cause for errors.Is, or nil; its text is already in Detail
}

func (e *Error) Error() string {
	s := fmt.Sprintf("cannot %s %s: %s", e.Op, e.Host, e.Detail)
	if e.Hint != "" {
		s += "\n  hint: " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first [*Error] in err's chain, else Failed.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Failed
}

// The causes a caller may ask for with errors.Is.
var (
	// ErrKilled ends a Process on which Kill was called.
	ErrKilled = errors.New("killed")
	// ErrClosed is the cause of everything that is tried on a closed Conn.
	ErrClosed = errors.New("the connection is closed")
	// ErrNoSession is the cause when the SSH server refuses one more session.
	ErrNoSession = errors.New("the server refuses another session")
)

// netError turns what the network layer said into an Error of kind Unreachable.
func netError(op, host, addr string, err error) *Error {
	return &Error{Kind: Unreachable, Op: op, Host: host, Detail: explainNet(addr, err), Err: err}
}

func explainNet(addr string, err error) string {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("no address is known for the name %s", dns.Name)
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s cannot be looked up: %s", dns.Name, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens on %s (connection refused)", addr)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("there is no route to %s", addr)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("%s does not answer (timed out)", addr)
	case cutShort(err):
		return fmt.Sprintf("%s closed the connection before the login", addr)
	}
	return fmt.Sprintf("%s: %v", addr, err)
}

// cutShort tells whether err means that the other side went away in the middle, as an
// sshd does that has too many unfinished logins (MaxStartups).
func cutShort(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// channelError explains why the server opened no channel.
func channelError(op, host string, err error) *Error {
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		return &Error{Kind: Unreachable, Op: op, Host: host, Detail: "the connection was lost", Err: err}
	}
	detail := strings.TrimSpace(refused.Message)
	switch refused.Reason {
	case ssh.Prohibited:
		return &Error{Kind: Failed, Op: op, Host: host, Err: err, Detail: "the SSH server does not allow it (" + detail + ")",
			Hint: "AllowTcpForwarding and PermitOpen in its sshd_config decide about forwarded connections"}
	case ssh.ConnectionFailed, ssh.ResourceShortage:
		return &Error{Kind: Failed, Op: op, Host: host, Detail: detail, Err: err}
	}
	return &Error{Kind: Failed, Op: op, Host: host, Detail: refused.Error(), Err: err}
}
