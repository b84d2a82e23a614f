package conn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// drainTime is how long the end of a command or a connection is waited for where it may well not come: what is on its way then, and background
// processes that hold the pipes open.
const drainTime = 200 * time.Millisecond

// lastWordsTime is how long what a command has said last may take after its end is known. sshd tells the end before it has read all.
const lastWordsTime = 2 * time.Second

// killTime is how long a killed command may take to be confirmed before Wait gives up on it.
const killTime = 2 * time.Second

// sshProcess is a command on a session channel.
type sshProcess struct {
	c    *sshConn
	ch   ssh.Channel
	tty  bool
	stop func() bool // ends watching the context
	errs tail

	m     marker        // begins the command's own output
	begun chan struct{} // closed when the fields below are set
	rest  []byte        // read, but not yet by Read
	group int           // the process group on the host, or 0

	drained chan struct{} // closed when standard error has ended
	exited  chan struct{} // closed when exit and err are set
	once    sync.Once     // for exited
	exit    int
	err     error
	killed  atomic.Pointer[error] // why, once killed
}

// announce is the shell line that prints the marker with the number of the process group
// and then becomes cmd. The marker ends what login shells print; by the group the command
// can be killed where the server sends no signals: before OpenSSH 7.9, and for root.
func announce(m marker, cmd string) string {
	return Sh(m.print("$$") + "; " + cmd)
}

// awaitMarker skips what is printed ahead of the command's own output. If the command never
// comes, say since the account is locked, what is printed is all there is to read.
func (p *sshProcess) awaitMarker() {
	defer close(p.begun)
	before, line, rest, found := p.m.scan(p.ch)
	if !found {
		rest = before
	}
	p.rest = rest
	p.group, _ = strconv.Atoi(line)
}

func (p *sshProcess) readStderr() {
	defer close(p.drained)
	_, _ = io.Copy(&p.errs, p.ch.Stderr())
}

// readRequests waits for the exit status, and then for the channel's end.
func (p *sshProcess) readRequests(requests <-chan *ssh.Request) {
	for r := range requests {
		switch r.Type {
		case "exit-status":
			if len(r.Payload) >= 4 {
				p.finish(int(int32(binary.BigEndian.Uint32(r.Payload))), nil)
			}
		case "exit-signal":
			var signal struct {
				Name string
				Core bool
				Text string
				Lang string
			}
			_ = ssh.Unmarshal(r.Payload, &signal) // an unknown signal is 128
			p.finish(128+signalNumbers[signal.Name], nil)
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	if p.killed.Load() == nil && p.c.overSoon() {
		p.finish(-1, p.c.lostError("go on with a command on"))
		return
	}
	p.finish(-1, &Error{Kind: Failed, Op: "go on with a command on", Host: p.c.t.name(), Detail: "the server ended it without an exit status"})
}

// signalNumbers are those of Linux, for the names of RFC 4254.
var signalNumbers = map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9,
	"USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15}

// finish notes how the command ended; only the first call counts, and the reason for killing
// it is preferred to what the killed command looks like.
func (p *sshProcess) finish(exit int, err error) {
	p.once.Do(func() {
		if why := p.killed.Load(); why != nil {
			exit, err = -1, *why
		}
		p.exit, p.err = exit, err
		p.c.mu.Lock()
		delete(p.c.running, p)
		p.c.mu.Unlock()
		close(p.exited)
	})
}

func (p *sshProcess) Read(b []byte) (int, error) {
	<-p.begun
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	n, err := p.ch.Read(b)
	if n > 0 || err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return 0, p.brokenError(err)
	}
	return 0, p.endOfOutput()
}

// endOfOutput tells the end of the command's output from the end of the connection: both
// look the same on a channel, but only the first is followed by an exit status.
func (p *sshProcess) endOfOutput() error {
	select {
	case <-p.exited:
		if p.err != nil {
			return p.err
		}
	case <-p.c.lost:
		return p.brokenError(nil)
	case <-time.After(drainTime): // the command closed its output and goes on
	}
	return io.EOF
}

func (p *sshProcess) Write(b []byte) (int, error) {
	n, err := p.ch.Write(b)
	if err != nil {
		err = p.brokenError(err)
	}
	return n, err
}

func (p *sshProcess) CloseWrite() error {
	if p.tty {
		return nil
	}
	if err := p.ch.CloseWrite(); err != nil && !errors.Is(err, io.EOF) {
		return p.brokenError(err)
	}
	return nil
}

// brokenError says why the stream of the command cannot be used any more.
func (p *sshProcess) brokenError(err error) error {
	select {
	case <-p.exited:
		if p.err != nil {
			return p.err
		}
		return fmt.Errorf("the command has ended: %w", io.ErrClosedPipe)
	default:
	}
	if p.c.overSoon() {
		return p.c.lostError("go on with a command on")
	}
	return fmt.Errorf("the command has closed its input: %w", errors.Join(io.ErrClosedPipe, err))
}

func (p *sshProcess) Wait() (int, error) {
	<-p.exited
	select {
	case <-p.drained:
	case <-time.After(lastWordsTime):
	}
	p.stop()
	return p.exit, p.err
}

func (p *sshProcess) Stderr() string { return p.errs.String() }

func (p *sshProcess) stderrTail() *tail { return &p.errs }

func (p *sshProcess) Kill() error {
	p.kill(ErrKilled)
	return nil
}

// kill makes an end of the process group and closes the channel. It does not wait.
func (p *sshProcess) kill(why error) {
	select {
	case <-p.exited: // background processes may still hold the channel open
		go func() { _ = p.ch.Close() }()
		return
	default:
	}
	if !p.killed.CompareAndSwap(nil, &why) {
		return
	}
	go func() { // not here: a full link would block
		_, _ = p.ch.SendRequest("signal", false, ssh.Marshal(struct{ Signal string }{"KILL"}))
		if p.c.t.user == "root" || !p.exits(drainTime) {
			p.killGroup()
		}
		_ = p.ch.Close()
		if !p.exits(killTime) {
			p.finish(-1, why)
		}
	}()
}

// exits tells whether the process ends within d.
func (p *sshProcess) exits(d time.Duration) bool {
	select {
	case <-p.exited:
		return true
	case <-p.c.lost:
		return true
	case <-time.After(d):
		return false
	}
}

// killGroup kills the process group by a command of its own; where there can be no second
// session, the command only notices that its input and output are gone.
func (p *sshProcess) killGroup() {
	select {
	case <-p.begun:
	case <-time.After(killTime):
	}
	if p.group <= 1 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTime)
	defer cancel()
	ch, requests, err := p.c.begin(ctx, "kill a command on", func(ch ssh.Channel) error {
		_, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{Sh("kill -9 -" + strconv.Itoa(p.group))}))
		return err
	})
	if err != nil {
		return
	}
	defer func() { _ = ch.Close() }()
	ended := make(chan struct{})
	go func() { ssh.DiscardRequests(requests); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// interrupted tells whether err means that a context ended.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
