package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// The test binary as a helper takes its state folder and a point to die at from the environment; the product has no such thing.
const (
	envState = "CALROLL_TEST_STATE"
	envDieAt = "CALROLL_TEST_DIE_AT" // the number of the point at which the helper kills itself
	envCount = "CALROLL_TEST_COUNT"  // a file to which each point adds a line
)

func testHelper(args []string) int {
	o := ServeOptions{Modules: testModules(), StateDir: os.Getenv(envState)}
	o.step = dieAt(os.Getenv(envDieAt), os.Getenv(envCount))
	o.Kinds = tasks.NodeKinds(tasks.KindOptions{Modules: o.Modules, Step: o.step})
	return Main(args, o)
}

// dieAt is a Step that kills the process at the n-th point, as nothing but kill -9 does.
func dieAt(n, count string) func(string) {
	at, _ := strconv.Atoi(n)
	passed := 0
	return func(point string) {
		passed++
		if count != "" {
			f, err := os.OpenFile(count, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				panic(err)
			}
			_, _ = f.WriteString(point + "\n")
			_ = f.Close()
		}
		if passed == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}

// child is a helper as a process of this machine, with a link that can be cut after any frame.
type child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *os.File
	stderr strings.Builder
	cutter *cutter
}

var nonce = regexp.MustCompile(`n=([0-9a-f]+);`)

// childHost is a host whose helper needs no push.
func childHost(t *testing.T, c *cutter, env ...string) Host {
	return Host{Name: "child", Start: func(_ context.Context, cmd string) (Process, error) {
		return startChild(t, c, nonce.FindStringSubmatch(cmd)[1], env)
	}}
}

func startChild(t *testing.T, c *cutter, marker string, env []string) (*child, error) {
	p := &child{cmd: exec.Command(os.Args[0], Command, "--marker", marker), cutter: c}
	p.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), env...) // the race detector would wait a second at the end
	p.cmd.Stderr = &p.stderr
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	p.cmd.Stdout, p.out = w, r
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = p.Kill() })
	if c != nil {
		c.cut = func() { _ = p.in.Close(); _ = p.out.Close() }
	}
	return p, nil
}

func (p *child) Read(b []byte) (int, error) {
	if p.cutter != nil {
		return p.cutter.read(p.out, b)
	}
	return p.out.Read(b)
}

func (p *child) Write(b []byte) (int, error) {
	if p.cutter != nil {
		return p.cutter.write(p.in, b)
	}
	return p.in.Write(b)
}

func (p *child) CloseWrite() error { return p.in.Close() }
func (p *child) Stderr() string    { return p.stderr.String() }
func (p *child) Kill() error       { return p.cmd.Process.Kill() }

func (p *child) Wait() (int, error) {
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// openChild starts a helper process whose journals are in state.
func openChild(t *testing.T, state string, c *cutter, env ...string) (*Client, error) {
	t.Helper()
	client, err := Open(t.Context(), childHost(t, c, append(env, envState+"="+state)...), Options{})
	if err == nil {
		t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

// alive tells whether the process runs; one that only waits for its parent to notice its end does not.
func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(raw), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

func TestHelperProcessEndsWithItsLink(t *testing.T) {
	state := t.TempDir()
	c, err := openChild(t, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, c, one("echo", nil))
	pid := c.Hello().PID
	if pid == os.Getpid() {
		t.Fatal("the helper is no process of its own")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the helper to end", func() bool { return !alive(pid) })
}

func TestCancelAndLostLinkKillTheWholeProcessGroup(t *testing.T) {
	for name, end := range map[string]func(c *Client, cut *cutter, cancel context.CancelFunc){
		"cancel": func(_ *Client, _ *cutter, cancel context.CancelFunc) { cancel() },
		"close":  func(c *Client, _ *cutter, _ context.CancelFunc) { _ = c.Close() },
		"cut":    func(_ *Client, cut *cutter, _ context.CancelFunc) { cut.now() },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cut := &cutter{}
			c, err := openChild(t, dir, cut)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := onSignal(t)
			pids := filepath.Join(dir, "pids")
			script := "sleep 1000 & echo $! > " + pids + ".new; echo $$ >> " + pids + ".new; mv " + pids + ".new " + pids + "; wait"
			sent := send(t, c, one("run", map[string]any{"argv": []any{"sh", "-c", script}}))
			eventually(t, "the command to begin", func() bool { return exists(pids) })
			go end(c, cut, cancel)
			if _, err := sent[0].Wait(ctx); err == nil {
				t.Error("the task came to its end")
			}
			raw, err := os.ReadFile(pids)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range strings.Fields(string(raw)) {
				pid, _ := strconv.Atoi(line)
				eventually(t, "process "+line+" to end", func() bool { return !alive(pid) })
			}
			if name != "cancel" {
				eventually(t, "the helper to end", func() bool { return !alive(c.Hello().PID) })
				return
			}
			mustRun(t, c, one("echo", nil))
		})
	}
}

func TestAKilledHelperIsUnreachableAndSaysWhatItSaidLast(t *testing.T) {
	c, err := openChild(t, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	gate := filepath.Join(t.TempDir(), "begun")
	s := send(t, c, one("hang", map[string]any{"touch": gate}))
	eventually(t, "the task to begin", func() bool { return exists(gate) })
	_ = syscall.Kill(c.Hello().PID, syscall.SIGKILL)
	rs, err := s[0].Wait(t.Context())
	want := "cannot work on child: its helper was killed (signal 9)"
	if tasks.KindOf(err) != tasks.Unreachable || err.Error() != want || rs[0].Kind != tasks.Unreachable {
		t.Errorf("got %v, %+v", err, rs)
	}
	if _, err := c.Send(one("echo", nil)); tasks.KindOf(err) != tasks.Unreachable {
		t.Errorf("afterwards: %v", err)
	}
}

func TestASignalEndsTheHelperInGoodOrder(t *testing.T) {
	c, err := openChild(t, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, c, one("echo", nil))
	_ = syscall.Kill(c.Hello().PID, syscall.SIGTERM)
	<-c.Done()
	if _, err := c.Send(one("echo", nil)); err == nil || err.Error() != "cannot work on child: its helper ended with status 0" {
		t.Errorf("got %v", err)
	}
}

var me = journal.Holder{User: "ann", Bastion: "bastion1", PID: 42}

func TestAnotherRunIsKeptOutAndTheSameControllerTakesOver(t *testing.T) {
	state := t.TempDir()
	first, err := openChild(t, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Begin(t.Context(), "run1", me); err != nil {
		t.Fatal(err)
	}
	second, err := openChild(t, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = second.Begin(t.Context(), "run2", journal.Holder{User: "bob"})
	if tasks.KindOf(err) != tasks.Refused || !strings.Contains(err.Error(), "ann from bastion1") {
		t.Errorf("another run: %v", err)
	}
	if err := second.Begin(t.Context(), "run1", me); err != nil {
		t.Errorf("the same controller: %v", err)
	}
	select {
	case <-first.Done():
	case <-time.After(10 * time.Second):
		t.Error("both helpers work")
	}
}

func TestTidyCacheKeepsWhatIsUsed(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	folder := func(letter string, used time.Time) string {
		path := filepath.Join(dir, strings.Repeat(letter, 64))
		if err := errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "remote-x86_64"), nil, 0o700), os.Chtimes(path, used, used)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mine := folder("a", now.Add(-90*24*time.Hour))
	old, young, future := folder("b", now.Add(-31*24*time.Hour)), folder("c", now.Add(-29*24*time.Hour)), folder("d", now.Add(999*24*time.Hour))
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	tidyCache(filepath.Join(mine, "remote-x86_64"), now)
	for path, want := range map[string]bool{mine: true, old: false, young: true, future: true, filepath.Join(dir, "tmp"): true} {
		if exists(path) != want {
			t.Errorf("%s: there is %v, want %v", path, !want, want)
		}
	}
	if fi, err := os.Stat(mine); err != nil || now.Sub(fi.ModTime()) > time.Hour {
		t.Error("the helper's own folder is not marked as used")
	}
}

func TestCloseDoesNotWaitForAHelperThatIsStopped(t *testing.T) {
	c, err := openChild(t, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(c.Hello().PID, syscall.SIGSTOP)
	c.patience = 100 * time.Millisecond
	sent := make(chan error, 1)
	go func() { // a pipe does not take that much
		_, err := c.Send(one("echo", map[string]any{"value": strings.Repeat("x", 1<<20)}))
		sent <- err
	}()
	eventually(t, "the send to hang", func() bool {
		if c.sendMu.TryLock() {
			c.sendMu.Unlock()
			return false
		}
		return true
	})
	_ = c.Close()
	if err := <-sent; err == nil {
		t.Error("it was sent")
	}
}
