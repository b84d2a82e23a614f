package remote

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
)

// TestMain makes the test binary a helper as well: the tests push it to hosts and start it as a process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		os.Exit(testHelper(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// The modules of these tests.

type echo struct {
	Value any `arg:"value" doc:"what to answer"`
}

func (m *echo) Run(context.Context, *tasks.Sys) (tasks.Result, error) {
	r := tasks.Result{}
	r.Set("value", m.Value)
	return r, nil
}

type fail struct {
	Msg string `arg:"msg,default=it was told to" doc:"why"`
}

func (m *fail) Run(context.Context, *tasks.Sys) (tasks.Result, error) {
	return tasks.Result{Failed: true, Msg: m.Msg}, nil
}

// hang waits until it is canceled.
type hang struct {
	Touch string `arg:"touch" doc:"a file to make when the waiting begins"`
}

func (m *hang) Run(ctx context.Context, _ *tasks.Sys) (tasks.Result, error) {
	if m.Touch != "" {
		if err := os.WriteFile(m.Touch, nil, 0o600); err != nil {
			return tasks.Result{}, err
		}
	}
	<-ctx.Done()
	return tasks.Result{}, ctx.Err()
}

// unspeakable alters something and answers what cannot cross the wire.
type unspeakable struct{}

func (*unspeakable) Run(context.Context, *tasks.Sys) (tasks.Result, error) {
	r := tasks.Result{Changed: true}
	r.Set("value", make(chan int))
	return r, nil
}

// put writes a file.
type put struct {
	Dest    string        `arg:"dest,required" doc:"path"`
	Content tasks.Content `arg:"content" doc:"what it shall hold"`
}

func (m *put) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	changed, err := sys.WriteFile(ctx, m.Dest, m.Content, tasks.Attrs{}, tasks.WriteOptions{})
	return tasks.Result{Changed: changed}, err
}

type run struct {
	Argv   []string `arg:"argv,required" doc:"program and arguments"`
	Alters bool     `arg:"alters" doc:"whether it alters something"`
}

func (m *run) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	out, err := sys.Exec(ctx, tasks.Cmd{Argv: m.Argv, Alters: m.Alters})
	r := tasks.Result{Failed: out.Code != 0}
	r.Set("rc", out.Code)
	r.Set("stdout", string(out.Stdout))
	return r, err
}

type panics struct{}

func (*panics) Run(context.Context, *tasks.Sys) (tasks.Result, error) { panic("a mistake") }

func testModules() tasks.Set {
	return tasks.Set{
		"echo": func() tasks.Module { return &echo{} }, "fail": func() tasks.Module { return &fail{} },
		"hang": func() tasks.Module { return &hang{} }, "unspeakable": func() tasks.Module { return &unspeakable{} },
		"alter": func() tasks.Module { return &alter{} }, "put": func() tasks.Module { return &put{} }, "run": func() tasks.Module { return &run{} },
		"panics": func() tasks.Module { return &panics{} },
	}
}

// pipe is a client of a helper inside the test.
func pipe(t *testing.T, o ServeOptions) *Client {
	t.Helper()
	if o.Modules == nil {
		o.Modules = testModules()
	}
	if o.StateDir == "" {
		o.StateDir = t.TempDir()
	}
	if o.SpoolDir == "" {
		o.SpoolDir = t.TempDir()
	}
	c, err := Pipe(t.Context(), "here", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func one(module string, args map[string]any) Task {
	return Task{Module: module, Items: []Item{{Args: args}}}
}

// mustRun runs a task whose only item must not fail.
func mustRun(t *testing.T, c *Client, task Task) tasks.Result {
	t.Helper()
	rs, err := c.Run(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	if rs[0].Failed {
		t.Fatalf("%s failed: %s", task.Module, rs[0].Msg)
	}
	return rs[0]
}

// eventually polls until ok or a deadline.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// onSignal is a context that the test ends when it likes.
func onSignal(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(sync.OnceFunc(cancel))
	return ctx, cancel
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
