package conn

import (
	"context"
	"io"
	"io/fs"
	"net"
)

// Conn is a way to one host. Its methods may be called from many goroutines.
type Conn interface {
	// Put writes what r holds to the file at path on the host and gives it mode.
	// The file appears whole or not at all; what was there before, a symbolic link
	// too, is replaced. The folder must exist. Where the host's login is not allowed
	// to write, the error's kind is Failed.
	Put(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error

	// Start runs cmd, a line for /bin/sh, with the environment and in the home folder of
	// the login. When ctx ends, before or after the command has begun, its process group
	// is killed.
	Start(ctx context.Context, cmd string) (Process, error)

	// Dial opens a connection from the host to addr; network is tcp or unix. ctx
	// covers the opening, not the connection's life.
	Dial(ctx context.Context, network, addr string) (net.Conn, error)

	// Close kills what still runs and gives the connection up. It may be called twice.
	Close() error
}

// Process is a command that Start began. Reading and writing may go on at the same
// time, from one goroutine each.
type Process interface {
	// Read reads the command's standard output. It answers io.EOF only when the
	// command itself closed it; a lost connection is an [*Error] of kind Unreachable.
	io.Reader
	// Write writes to the command's standard input.
	io.Writer
	// CloseWrite ends the command's standard input. On a terminal there is no such
	// thing, and the call does nothing.
	CloseWrite() error

	// Wait waits until the command has ended and returns its exit status, 128 plus
	// the signal's number when a signal ended it. The error is the context's when that
	// ended the command, and [ErrKilled] after Kill. It may be called more than once.
	// A command blocks as long as nobody reads what it writes, so read first.
	Wait() (exit int, err error)

	// Stderr returns the last [StderrKept] bytes the command wrote to standard error.
	Stderr() string

	// Kill kills the process group of the command. It may be called at any time.
	Kill() error
}

// StderrKept is how many bytes of a command's standard error are kept, counted from the end.
const StderrKept = 64 << 10

// ttyStarter is a Conn that can give a command a terminal. The terminal passes all
// bytes unchanged and echoes none; standard error is mixed into the output.
type ttyStarter interface {
	startTTY(ctx context.Context, cmd string) (Process, error)
}

// Lost tells whether a connection is known to be over.
func Lost(c Conn) bool {
	s, ok := c.(*sshConn)
	return ok && s.over()
}
