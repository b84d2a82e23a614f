package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Pipe starts a helper inside this program and returns its client: the controller is a host too. ctx covers the start only;
// Close ends the helper.
func Pipe(ctx context.Context, name string, o ServeOptions) (*Client, error) {
	ours, theirs := net.Pipe()
	l := &pipeLink{Conn: ours}
	o.Marker = "pipe"
	go func() {
		defer theirs.Close()
		err := Serve(context.WithoutCancel(ctx), theirs, o)
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
	}()
	stop := context.AfterFunc(ctx, func() { _ = ours.Close() })
	defer stop()
	in := newFrameReader(ours)
	if _, err := in.readLine(o.Marker, new(tail)); err != nil {
		_ = ours.Close()
		return nil, (&Client{name: name}).unreachable(l.why(err))
	}
	return newClient(name, l, in)
}

// pipeLink is a stream to a Serve in this program.
type pipeLink struct {
	net.Conn

	mu  sync.Mutex
	err error // of Serve; guarded by mu
}

// CloseWrite does nothing: a net.Pipe has one end. The farewell frame does it.
func (l *pipeLink) CloseWrite() error { return nil }

func (l *pipeLink) why(err error) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		return "its helper has ended"
	}
	return fmt.Sprintf("the stream to its helper broke: %v", err)
}
