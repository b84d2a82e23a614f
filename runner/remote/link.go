package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// processLink is the stream to a helper in a process on its host.
type processLink struct {
	Process
	end    context.CancelFunc // gives the process up
	once   sync.Once          // starts waiting
	exited chan struct{}      // closed when exit and err are set
	exit   int
	err    error
}

// exitPatience is how long a process that closed its output may take to end.
const exitPatience = 5 * time.Second

func newProcessLink(p Process, end context.CancelFunc) *processLink {
	return &processLink{Process: p, end: end, exited: make(chan struct{})}
}

// wait returns how the process ended. It must have closed its output or have been killed.
func (l *processLink) wait() (int, error) {
	l.once.Do(func() {
		go func() {
			l.exit, l.err = l.Process.Wait()
			close(l.exited)
		}()
	})
	select {
	case <-l.exited:
		return l.exit, l.err
	case <-time.After(exitPatience):
		return -1, errors.New("the host does not say how it ended")
	}
}

// Close ends the process without asking it.
func (l *processLink) Close() error {
	_ = l.Kill() // what has ended cannot be killed, and need not be
	l.end()
	return nil
}

// kill is Close where nobody asks for its error, which is always nil.
func (l *processLink) kill() { _ = l.Close() }

func (l *processLink) why(err error) string {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
		_ = l.Kill()
		return fmt.Sprintf("the stream to its helper broke: %v%s", err, l.said())
	}
	exit, err := l.wait()
	switch {
	case err != nil:
		return fmt.Sprintf("its helper is gone: %v%s", err, l.said())
	case exit > 128 && exit < 160:
		return fmt.Sprintf("its helper was killed (signal %d)%s", exit-128, l.said())
	}
	return fmt.Sprintf("its helper ended with status %d%s", exit, l.said())
}

func (l *processLink) said() string {
	if s := lastWords(l.Stderr()); s != "" {
		return "; it said last: " + s
	}
	return ""
}
