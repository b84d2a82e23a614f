package conn

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testConn is what every connection has to do. The host of open's connections must share
// this machine's file system and processes, so that effects can be looked at directly.
func testConn(t *testing.T, open func(t *testing.T) Conn) {
	t.Run("echo", func(t *testing.T) { testEcho(t, open(t)) })
	t.Run("big streams both ways", func(t *testing.T) { testBigStreams(t, open(t)) })
	t.Run("exit status", func(t *testing.T) { testExitStatus(t, open(t)) })
	t.Run("standard error", func(t *testing.T) { testStderr(t, open(t)) })
	t.Run("background process", func(t *testing.T) { testBackground(t, open(t)) })
	t.Run("cancel kills the group", func(t *testing.T) { testCancel(t, open(t)) })
	t.Run("kill", func(t *testing.T) { testKill(t, open(t)) })
	t.Run("many at once", func(t *testing.T) { testMany(t, open(t)) })
	t.Run("put", func(t *testing.T) { testPut(t, open(t)) })
	t.Run("put is whole or not at all", func(t *testing.T) { testPutFails(t, open(t)) })
	t.Run("dial", func(t *testing.T) { testDial(t, open(t)) })
	t.Run("close", func(t *testing.T) { testClose(t, open(t)) })
}

// until polls a condition, for at most ten seconds.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("after ten seconds still not: %s", what)
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, c Conn, cmd string) Process {
	t.Helper()
	p, err := c.Start(testContext(t), cmd)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// output runs cmd to its end and returns what it printed.
func output(t *testing.T, c Conn, cmd string) string {
	t.Helper()
	p := start(t, c, cmd)
	if err := p.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(p)
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := p.Wait(); exit != 0 || err != nil {
		t.Fatalf("%s: exit status %d, %v\n%s", cmd, exit, err, p.Stderr())
	}
	return string(text)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

const big = 16 << 20

func testEcho(t *testing.T, c Conn) {
	p := start(t, c, "while read -r l; do echo got $l; done; echo end")
	for i := range 3 {
		fmt.Fprintf(p, "%d\n", i)
		want := fmt.Sprintf("got %d\n", i)
		line := make([]byte, len(want))
		if _, err := io.ReadFull(p, line); err != nil || string(line) != want {
			t.Fatalf("read %q, %v; want %q", line, err, want)
		}
	}
	p.CloseWrite()
	rest, err := io.ReadAll(p)
	if err != nil || string(rest) != "end\n" {
		t.Fatalf("read %q, %v", rest, err)
	}
	if exit, err := p.Wait(); exit != 0 || err != nil {
		t.Fatal(exit, err)
	}
}

func testBigStreams(t *testing.T, c Conn) {
	p := start(t, c, "cat")
	checkBothWays(t, p)
	if exit, err := p.Wait(); exit != 0 || err != nil {
		t.Fatal(exit, err)
	}
}

// checkBothWays sends much through a process that answers with what it gets.
func checkBothWays(t *testing.T, p Process) {
	t.Helper()
	sent := randomBytes(big)
	writeErr := make(chan error, 1)
	go func() {
		_, err := p.Write(sent)
		writeErr <- errors.Join(err, p.CloseWrite())
	}()
	got := make([]byte, big)
	if _, err := io.ReadFull(p, got); err != nil {
		t.Fatal(err)
	}
	if err := <-writeErr; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sent, got) {
		t.Fatal("other bytes came back than were sent")
	}
}

func testExitStatus(t *testing.T, c Conn) {
	for cmd, want := range map[string]int{"true": 0, "exit 7": 7, "exit 255": 255, "kill -TERM $$": 143, "kill -KILL $$": 137} {
		p := start(t, c, cmd)
		for range 2 {
			if exit, err := p.Wait(); exit != want || err != nil {
				t.Errorf("%s: exit status %d, %v; want %d", cmd, exit, err, want)
			}
		}
	}
}

func testStderr(t *testing.T, c Conn) {
	p := start(t, c, "echo out; echo bad >&2; exit 3")
	text, err := io.ReadAll(p)
	if err != nil {
		t.Fatal(err)
	}
	p.Wait()
	// A chatty login shell may have added something of its own before.
	if string(text) != "out\n" || !strings.HasSuffix(p.Stderr(), "bad\n") {
		t.Errorf("out %q, err %q", text, p.Stderr())
	}
	p = start(t, c, "yes 0123456789 | head -n 90000 >&2; echo last >&2")
	p.Wait()
	if s := p.Stderr(); len(s) != StderrKept || !strings.HasSuffix(s, "\nlast\n") {
		t.Errorf("kept %d bytes, ending in %q", len(s), s[max(0, len(s)-20):])
	}
}

// testBackground: a daemon that holds the pipes open must not keep Wait from returning.
func testBackground(t *testing.T, c Conn) {
	p := start(t, c, "sleep 60 & echo $!; exit 4")
	pid := readPID(t, p)
	begun := time.Now()
	if exit, err := p.Wait(); exit != 4 || err != nil {
		t.Error(exit, err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("Wait took %s", took)
	}
	syscall.Kill(pid, syscall.SIGKILL)
}

// readPID reads a line with a process id.
func readPID(t *testing.T, p Process) int {
	t.Helper()
	var line []byte
	for one := make([]byte, 1); ; {
		if _, err := p.Read(one); err != nil {
			t.Fatal(err)
		}
		if one[0] == '\n' {
			break
		}
		line = append(line, one[0])
	}
	pid, err := strconv.Atoi(string(line))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// family is a command that starts two sleeping children and prints their pids.
const family = "sleep 300 & echo $!; (sleep 300; true) & echo $!; wait"

func testCancel(t *testing.T, c Conn) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, err := c.Start(ctx, family)
	if err != nil {
		t.Fatal(err)
	}
	first, second := readPID(t, p), readPID(t, p)
	if !running(first) || !running(second) {
		t.Fatal("the children do not run")
	}
	cancel()
	if _, err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
	until(t, "the children are dead", func() bool { return !running(first) && !running(second) })
	if _, err := c.Start(ctx, "true"); !errors.Is(err, context.Canceled) {
		t.Errorf("Start with an ended context: %v", err)
	}
}

func testKill(t *testing.T, c Conn) {
	p := start(t, c, family)
	first, second := readPID(t, p), readPID(t, p)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); !errors.Is(err, ErrKilled) {
		t.Errorf("Wait: %v", err)
	}
	until(t, "the children are dead", func() bool { return !running(first) && !running(second) })
	if err := p.Kill(); err != nil {
		t.Errorf("second Kill: %v", err)
	}
}

func testMany(t *testing.T, c Conn) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			p, err := c.Start(t.Context(), "cat; exit "+strconv.Itoa(i))
			if err != nil {
				t.Error(err)
				return
			}
			sent := randomBytes(200_000)
			go func() { p.Write(sent); p.CloseWrite() }()
			got, err := io.ReadAll(p)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("process %d: %d bytes, %v", i, len(got), err)
			}
			if exit, err := p.Wait(); exit != i || err != nil {
				t.Errorf("process %d: %d, %v", i, exit, err)
			}
		})
	}
	all.Wait()
}

func testPut(t *testing.T, c Conn) {
	folder := t.TempDir()
	file := filepath.Join(folder, "a 'quoted' name")
	for _, content := range [][]byte{randomBytes(big), []byte("short"), nil} {
		if err := c.Put(testContext(t), file, 0o750, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil || sha256.Sum256(got) != sha256.Sum256(content) {
			t.Fatalf("%d bytes of %d arrived: %v", len(got), len(content), err)
		}
		if info, _ := os.Stat(file); info.Mode() != 0o750 {
			t.Errorf("mode %s", info.Mode())
		}
	}
	link := filepath.Join(folder, "link")
	os.Symlink(file, link)
	if err := c.Put(testContext(t), link, 0o600, strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Lstat(link); !info.Mode().IsRegular() {
		t.Error("the link was followed")
	}
	checkOnly(t, folder, "a 'quoted' name", "link")
}

// checkOnly fails if the folder has other entries than names.
func checkOnly(t *testing.T, folder string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	if strings.Join(found, "\n") != strings.Join(names, "\n") {
		t.Errorf("the folder has %q; want %q", found, names)
	}
}

// brokenReader gives some bytes and then an error.
type brokenReader struct{ left int }

var errBroken = errors.New("the source broke")

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errBroken
	}
	n := min(len(p), b.left)
	b.left -= n
	return n, nil
}

// endingReader cancels a context after some bytes and goes on.
type endingReader struct {
	left   int
	cancel func()
}

func (e *endingReader) Read(p []byte) (int, error) {
	e.left -= len(p)
	if e.left < 0 {
		e.cancel()
	}
	return len(p), nil
}

func testPutFails(t *testing.T, c Conn) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(testContext(t), file, 0o600, &brokenReader{300_000}); err == nil || !strings.Contains(err.Error(), errBroken.Error()) {
		t.Errorf("a source that breaks: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Put(ctx, file, 0o600, &endingReader{1 << 20, cancel}); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted transfer: %v", err)
	}
	if got, _ := os.ReadFile(file); string(got) != "old" {
		t.Errorf("the file is now %q", got)
	}
	checkOnly(t, folder, "file")
	var e *Error
	if err := c.Put(testContext(t), filepath.Join(folder, "no", "file"), 0o600, strings.NewReader("x")); !errors.As(err, &e) || e.Kind != Failed {
		t.Errorf("a missing folder: %v", err)
	}
	if err := c.Put(testContext(t), folder, 0o600, strings.NewReader("x")); KindOf(err) != Failed || err == nil {
		t.Errorf("a folder instead of a file: %v", err)
	}
	checkOnly(t, folder, "file")
}

// echoListener answers each connection with what it says.
func echoListener(t *testing.T, network, addr string) net.Listener {
	l, err := net.Listen(network, addr)
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
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	return l
}

func testDial(t *testing.T, c Conn) {
	for _, l := range []net.Listener{echoListener(t, "tcp", "127.0.0.1:0"), echoListener(t, "unix", filepath.Join(t.TempDir(), "socket"))} {
		network, addr := l.Addr().Network(), l.Addr().String()
		channel, err := c.Dial(testContext(t), network, addr)
		if err != nil {
			t.Fatal(err)
		}
		sent, got := randomBytes(1<<20), make([]byte, 1<<20)
		go channel.Write(sent)
		if _, err := io.ReadFull(channel, got); err != nil || !bytes.Equal(sent, got) {
			t.Errorf("%s: %v", network, err)
		}
		channel.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		var timeout net.Error
		if _, err := channel.Read(got); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: reading past the deadline: %v", network, err)
		}
		if err := channel.Close(); err != nil {
			t.Error(err)
		}
		l.Close()
		if _, err := c.Dial(testContext(t), network, addr); err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: nobody listens: %v", network, err)
		}
	}
}

func testClose(t *testing.T, c Conn) {
	p := start(t, c, family)
	first, second := readPID(t, p), readPID(t, p)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait: %v", err)
	}
	until(t, "the children are dead", func() bool { return !running(first) && !running(second) })
	if _, err := c.Start(testContext(t), "true"); !errors.Is(err, ErrClosed) {
		t.Errorf("Start: %v", err)
	}
	if err := c.Put(testContext(t), filepath.Join(t.TempDir(), "x"), 0o600, strings.NewReader("")); !errors.Is(err, ErrClosed) {
		t.Errorf("Put: %v", err)
	}
	if _, err := c.Dial(testContext(t), "tcp", "127.0.0.1:1"); !errors.Is(err, ErrClosed) {
		t.Errorf("Dial: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestLocal(t *testing.T) {
	testConn(t, func(t *testing.T) Conn {
		c := Local()
		t.Cleanup(func() { c.Close() })
		return c
	})
}
