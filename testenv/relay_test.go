package testenv

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func openRelay(t *testing.T, target string) *Relay {
	t.Helper()
	r, err := OpenRelay(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func dial(t *testing.T, r *Relay) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// roundTrip sends and gets back, and says how long it took.
func roundTrip(t *testing.T, c net.Conn, content []byte) time.Duration {
	t.Helper()
	start := time.Now()
	go c.Write(content)
	got := make([]byte, len(content))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("the echo differs: %v", err)
	}
	return time.Since(start)
}

func TestRelayPassesEverythingAndBothEnds(t *testing.T) {
	r := openRelay(t, echo(t))
	c := dial(t, r)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	roundTrip(t, c, content)
	size := int64(len(content))
	// What was read a moment ago may not be counted yet.
	eventually(t, func() bool { return r.Moved(ToHost) == size && r.Moved(FromHost) == size })
	c.(*net.TCPConn).CloseWrite() // the echo ends when its input does
	if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	eventually(t, func() bool { return r.Links() == 0 })
}

func TestRelayCutsAndRestores(t *testing.T) {
	r := openRelay(t, echo(t))
	c := dial(t, r)
	roundTrip(t, c, []byte("hello"))
	r.Cut()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection survived the cut")
	}
	if _, err := net.Dial("tcp", r.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a cut relay answers %v", err)
	}
	at := r.Addr()
	if err := r.Restore(); err != nil {
		t.Fatal(err)
	}
	if r.Addr() != at {
		t.Errorf("moved from %s to %s", at, r.Addr())
	}
	roundTrip(t, dial(t, r), []byte("again"))
}

func TestRelayCutsAfterBytes(t *testing.T) {
	for _, throttle := range []int{0, 1000} {
		r := openRelay(t, echo(t))
		r.Throttle(throttle)
		c := dial(t, r)
		roundTrip(t, c, []byte("before"))
		r.CutAfter(FromHost, 150)
		c.Write(make([]byte, 400))
		got, _ := io.ReadAll(c)
		if len(got) != 150 {
			t.Errorf("throttle %d: %d bytes came through, want 150", throttle, len(got))
		}
		if _, err := net.Dial("tcp", r.Addr()); err == nil {
			t.Error("the relay is not cut")
		}
		r.Throttle(0)
		if err := r.Restore(); err != nil {
			t.Fatal(err)
		}
		roundTrip(t, dial(t, r), make([]byte, 1000))
	}
}

func TestRelayDelaysWithoutNarrowing(t *testing.T) {
	r := openRelay(t, echo(t))
	c := dial(t, r)
	r.Delay(50 * time.Millisecond)
	if took := roundTrip(t, c, []byte("x")); took < 100*time.Millisecond {
		t.Errorf("a round trip took %s, want 100 ms at least", took)
	}
	// Were each piece delayed after the last, a megabyte would take seconds.
	if took := roundTrip(t, c, make([]byte, 1<<20)); took > 2*time.Second {
		t.Errorf("a megabyte took %s", took)
	}
}

func TestRelayThrottles(t *testing.T) {
	r := openRelay(t, echo(t))
	c := dial(t, r)
	r.Throttle(100_000)
	if took := roundTrip(t, c, make([]byte, 50_000)); took < 450*time.Millisecond {
		t.Errorf("50 kB at 100 kB/s took %s", took)
	}
}

func TestRelayFreezes(t *testing.T) {
	r := openRelay(t, echo(t))
	c := dial(t, r)
	roundTrip(t, c, []byte("x"))
	r.Freeze()
	c.Write([]byte("held"))
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	got := make([]byte, 4)
	if n, err := c.Read(got); n != 0 || err == nil {
		t.Errorf("a frozen relay passed %d bytes", n)
	}
	r.Thaw()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "held" {
		t.Errorf("after the thaw came %q, %v", got, err)
	}
}

func TestRelayBeforeHost(t *testing.T) {
	h := ForTest(t, 1).Hosts[0]
	r, err := h.Relay()
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.dialAt(t.Context(), r.Addr(), "root")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := remote(t, c, "", "hostname"); got != h.Name {
		t.Errorf("behind the relay is %q", got)
	}
	r.Cut()
	lost := make(chan struct{})
	go func() {
		c.Wait()
		close(lost)
	}()
	select {
	case <-lost:
	case <-time.After(10 * time.Second):
		t.Error("the connection survived the cut")
	}
	if _, err := h.Output(t.Context(), "true"); err != nil {
		t.Errorf("the host is not reached past the cut: %v", err)
	}
}

// eventually fails the test if a condition does not come true.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := poll(ctx, 20*time.Millisecond, func(context.Context) error {
		if is() {
			return nil
		}
		return errors.New("it did not come true")
	})
	if err != nil {
		t.Error(err)
	}
}
