package testenv

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// A Direction is one of the two ways through a relay.
type Direction int

// The directions of a relay, seen from whoever connects to it.
const (
	ToHost Direction = iota
	FromHost
)

// A Relay is a TCP link to one target that can be made bad in many ways. It starts out good.
// Its methods may be called at any time from any goroutine.
//
//	good --Cut, or CutAfter when the bytes have passed--> cut --Restore--> good
//	good --Freeze--> frozen --Thaw--> good
type Relay struct {
	target string
	addr   string
	pumps  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	listener net.Listener
	links    map[*link]bool
	delay    time.Duration
	rate     int           // bytes a second and direction; 0 is no limit
	gate     chan struct{} // not nil while frozen; closed by Thaw
	flow     [2]flow
	turns    int
	heard    bool // the last bytes came from the host
}

// A flow is what a relay knows of one direction.
type flow struct {
	moved int64
	left  int64     // until the cut, if limit is set
	limit bool      // CutAfter was called
	free  time.Time // when the throttled line may take the next bytes
}

// A link is one connection through a relay.
type link struct {
	near, far *net.TCPConn
	once      sync.Once
	done      chan struct{} // closed by sever
}

// OpenRelay makes a relay to a TCP address. It listens on a loopback address of its own, so
// that nobody takes its port while it is cut.
func OpenRelay(target string) (*Relay, error) {
	own := netip.AddrFrom4([4]byte{127, byte(1 + rand.N(254)), byte(rand.N(256)), byte(1 + rand.N(254))})
	r := &Relay{target: target, addr: netip.AddrPortFrom(own, 0).String(), links: map[*link]bool{}, heard: true}
	if err := r.Restore(); err != nil {
		return nil, err
	}
	return r, nil
}

// Addr is where to connect instead of the target: a loopback address and port. It stays the
// same over cuts.
func (r *Relay) Addr() string { return r.addr }

// Cut ends all connections and refuses new ones.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut()
}

func (r *Relay) cut() {
	if r.listener != nil {
		_ = r.listener.Close()
		r.listener = nil
	}
	for l := range r.links {
		l.sever()
	}
	clear(r.links)
}

// Restore ends a cut: new connections are accepted again. A limit of CutAfter is forgotten.
func (r *Relay) Restore() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for d := range r.flow {
		r.flow[d].limit = false
	}
	if r.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", r.addr)
	if err != nil {
		return fmt.Errorf("cannot open a relay to %s: %w", r.target, err)
	}
	r.listener, r.addr = listener, listener.Addr().String()
	r.pumps.Go(func() { r.accept(listener) })
	return nil
}

// CutAfter lets n more bytes through in a direction, counted over all connections, and then
// cuts. The bytes before the cut do arrive.
func (r *Relay) CutAfter(d Direction, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flow[d].limit, r.flow[d].left = true, n
	if n <= 0 {
		r.cut()
	}
}

// Delay holds everything back for this long in each direction. It adds to round trips twice.
func (r *Relay) Delay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// Throttle limits each direction to so many bytes a second; 0 lifts the limit.
func (r *Relay) Throttle(bytesPerSecond int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rate = bytesPerSecond
}

// Freeze lets nothing through, and keeps connections open: a network that has silently gone.
func (r *Relay) Freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gate == nil {
		r.gate = make(chan struct{})
	}
}

// Thaw ends a freeze. What was held back goes on.
func (r *Relay) Thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gate != nil {
		close(r.gate)
		r.gate = nil
	}
}

// Moved is how many bytes have passed in a direction since the relay was opened.
func (r *Relay) Moved(d Direction) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flow[d].moved
}

// Turns is how often bytes have gone to the host after bytes had come from it: the round trips that whoever connects has waited for, on one connection.
func (r *Relay) Turns() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turns
}

// Links is how many connections are open.
func (r *Relay) Links() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.links)
}

// Close cuts and waits until nothing of the relay runs any more.
func (r *Relay) Close() error {
	r.Cut()
	r.pumps.Wait()
	return nil
}

func (r *Relay) accept(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		r.pumps.Go(func() { r.connect(listener, near.(*net.TCPConn)) })
	}
}

// connect joins an accepted connection with the target, and drops it if that cannot be had
// or the relay was cut meanwhile.
func (r *Relay) connect(accepted net.Listener, near *net.TCPConn) {
	far, err := net.DialTimeout("tcp", r.target, 10*time.Second)
	if err != nil {
		_ = near.Close()
		return
	}
	l := &link{near: near, far: far.(*net.TCPConn), done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != accepted {
		l.sever()
		return
	}
	r.links[l] = true
	var both sync.WaitGroup
	both.Go(func() { r.pump(l, ToHost, l.near, l.far) })
	both.Go(func() { r.pump(l, FromHost, l.far, l.near) })
	r.pumps.Go(func() {
		both.Wait()
		r.forget(l)
	})
}

func (r *Relay) forget(l *link) {
	l.sever()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, l)
}

func (l *link) sever() {
	l.once.Do(func() {
		close(l.done)
		_ = l.near.Close()
		_ = l.far.Close()
	})
}

// wait sleeps until t, or returns false if the link ends first.
func (l *link) wait(t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

// A parcel is bytes on their way and when they are due.
type parcel struct {
	bytes []byte
	due   time.Time
}

// pump moves one direction of a link until its end. Reading goes on while earlier bytes are
// delayed, as on a long line.
func (r *Relay) pump(l *link, d Direction, from, to *net.TCPConn) {
	line := make(chan parcel, 256)
	r.pumps.Go(func() {
		defer close(line)
		r.collect(l, from, line)
	})
	for p := range line {
		if !l.wait(p.due) || r.deliver(l, d, to, p.bytes) != nil {
			l.sever()
		}
	}
	_ = to.CloseWrite()
}

func (r *Relay) collect(l *link, from *net.TCPConn, line chan<- parcel) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			select {
			case line <- parcel{slices.Clone(buffer[:n]), time.Now().Add(r.latency())}:
			case <-l.done:
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				l.sever() // a reset is passed on, an end is only one direction's
			}
			return
		}
	}
}

func (r *Relay) latency() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.delay
}

// deliver writes bytes in pieces as small as the throttle asks for.
func (r *Relay) deliver(l *link, d Direction, to io.Writer, bytes []byte) error {
	for len(bytes) > 0 {
		n, at, gate := r.admit(d, len(bytes))
		if gate != nil {
			select {
			case <-gate:
				continue
			case <-l.done:
				return net.ErrClosed
			}
		}
		if n == 0 || !l.wait(at) {
			return net.ErrClosed
		}
		if _, err := to.Write(bytes[:n]); err != nil {
			return err
		}
		r.passed(d, n)
		bytes = bytes[n:]
	}
	return nil
}

// admit says how many of n bytes may pass and when. A gate means: none before it opens.
func (r *Relay) admit(d Direction, n int) (allowed int, at time.Time, gate chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gate != nil {
		return 0, at, r.gate
	}
	f := &r.flow[d]
	if f.limit {
		n = int(min(int64(n), f.left))
		f.left -= int64(n)
	}
	if r.rate > 0 {
		piece := max(1, r.rate/20)
		if f.limit && n > piece {
			f.left += int64(n - piece)
		}
		n = min(n, piece)
		if now := time.Now(); f.free.Before(now) {
			f.free = now
		}
		f.free = f.free.Add(time.Duration(n) * time.Second / time.Duration(r.rate))
		at = f.free
	}
	return n, at, nil
}

// passed counts bytes that were written, and cuts when they were the last.
func (r *Relay) passed(d Direction, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d == ToHost && r.heard {
		r.turns++
	}
	r.heard = d == FromHost
	f := &r.flow[d]
	f.moved += int64(n)
	if f.limit && f.left <= 0 {
		r.cut()
	}
}

// Relay opens a relay to the host's sshd. It is closed with the lab, or at the end of the
// test. Its address is added to the lab's known hosts.
func (h *Host) Relay() (*Relay, error) {
	r, err := OpenRelay(h.sshAddress())
	if err != nil {
		return nil, err
	}
	if err := h.lab.adopt(r, h); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (l *Lab) adopt(r *Relay, h *Host) error {
	at := netip.MustParseAddrPort(r.Addr())
	lines, err := h.identity.knownHosts(fmt.Sprintf("[%s]:%d", at.Addr(), at.Port()))
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.relays = append(l.relays, r)
	f, err := os.OpenFile(l.KnownHostsFile(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(lines)
	return errors.Join(err, f.Close())
}

func (l *Lab) closeRelays() {
	l.mu.Lock()
	relays := l.relays
	l.relays = nil
	l.mu.Unlock()
	for _, r := range relays {
		_ = r.Close()
	}
}
