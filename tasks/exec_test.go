package tasks_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/tasks/node"
)

// until polls a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("it did not come about that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestExec(t *testing.T) {
	sys := tasks.NewSys(tasks.Options{Env: map[string]string{"A": "task"}})
	for _, c := range []struct {
		name string
		cmd  tasks.Cmd
		want string
		code int
	}{
		{"output and status", tasks.Cmd{Argv: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}}, "out\nerr\n", 3},
		{"stdin", tasks.Cmd{Argv: []string{"cat"}, Stdin: []byte("in")}, "in", 0},
		{"no stdin is an empty one", tasks.Cmd{Argv: []string{"cat"}}, "", 0},
		{"environment", tasks.Cmd{Argv: []string{"sh", "-c", "echo $A $B"}, Env: map[string]string{"B": "own"}}, "task own\n", 0},
		{"without a variable", tasks.Cmd{Argv: []string{"sh", "-c", "echo $A $B $BA"}, Env: map[string]string{"B": "own", "BA": "too"}, Without: []string{"B"}}, "task\n", 0},
		{"folder", tasks.Cmd{Argv: []string{"pwd"}, Dir: "/usr"}, "/usr\n", 0},
		{"signal", tasks.Cmd{Argv: []string{"sh", "-c", "kill -9 $$"}}, "", 137},
		{"much output is cut", tasks.Cmd{Argv: []string{"sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x"}, MaxOutput: 10}, "xxxxxxxxxx", 0},
		{"a child that writes on is waited for", tasks.Cmd{Argv: []string{"sh", "-c", "echo early; (sleep 0.2; echo late) &"}}, "early\nlate\n", 0},
	} {
		out, err := sys.Exec(context.Background(), c.cmd)
		if err != nil || string(out.Stdout)+string(out.Stderr) != c.want || out.Code != c.code {
			t.Errorf("%s: %q %q status %d: %v", c.name, out.Stdout, out.Stderr, out.Code, err)
		}
		if out.Truncated != (c.cmd.MaxOutput > 0) {
			t.Errorf("%s: truncated is %v", c.name, out.Truncated)
		}
	}
	if _, err := sys.Exec(context.Background(), tasks.Cmd{Argv: []string{"no-such-program"}}); err == nil || !strings.Contains(err.Error(), `no program "no-such-program"`) {
		t.Errorf("a missing program: %v", err)
	}
}

// TestExecCancelKillsTheGroup cancels a command whose child ignores being told to stop.
func TestExecCancelKillsTheGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	pidFile := filepath.Join(t.TempDir(), "pid")
	script := "sh -c 'trap \"\" TERM; echo $$ > " + pidFile + "; while :; do sleep 0.1; done' & wait"
	done := make(chan error)
	go func() {
		_, err := tasks.NewSys(tasks.Options{}).Exec(ctx, tasks.Cmd{Argv: []string{"sh", "-c", script}})
		done <- err
	}()
	pid := 0
	until(t, "the child has written its number", func() bool {
		raw, _ := os.ReadFile(pidFile)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(raw)))
		return pid > 0
	})
	cancel()
	if err := <-done; tasks.KindOf(err) != tasks.Canceled {
		t.Errorf("want a Canceled error, have %v", err)
	}
	until(t, "the child is gone", func() bool { return syscall.Kill(pid, 0) != nil })
}

// TestExecCancelOfAnObedientCommand must not wait for the grace to pass.
func TestExecCancelOfAnObedientCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	_, err := tasks.NewSys(tasks.Options{}).Exec(ctx, tasks.Cmd{Argv: []string{"sleep", "60"}})
	if tasks.KindOf(err) != tasks.Canceled || time.Since(start) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func TestCheckModeAltersNothing(t *testing.T) {
	dir := t.TempDir()
	sys := tasks.NewSys(tasks.Options{Check: true, Diff: true})
	ctx := context.Background()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, op := range map[string]func() (bool, error){
		"write": func() (bool, error) {
			return sys.WriteFile(ctx, path, tasks.Text([]byte("new")), tasks.Attrs{}, tasks.WriteOptions{})
		},
		"write in a folder to come": func() (bool, error) {
			return sys.WriteFile(ctx, dir+"/no/f", tasks.Text([]byte("new")), tasks.Attrs{}, tasks.WriteOptions{})
		},
		"attributes": func() (bool, error) { return sys.SetAttrs(ctx, path, tasks.Attrs{Mode: tasks.Octal(0o644)}) },
		"a user to come": func() (bool, error) {
			return sys.WriteFile(ctx, dir+"/g", tasks.Text(nil), tasks.Attrs{Owner: "to-come"}, tasks.WriteOptions{})
		},
		"mkdir":    func() (bool, error) { return sys.Mkdir(ctx, dir+"/d/e", tasks.Attrs{}) },
		"symlink":  func() (bool, error) { return sys.Symlink(ctx, dir+"/l", "f") },
		"hardlink": func() (bool, error) { return sys.Hardlink(ctx, dir+"/h", path) },
		"remove":   func() (bool, error) { return sys.Remove(ctx, path) },
	} {
		if changed, err := op(); !changed || err != nil {
			t.Errorf("%s: changed is %v: %v", name, changed, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v: %v", entries, err)
	}
	if _, err := sys.Exec(ctx, tasks.Cmd{Argv: []string{"true"}, Alters: true}); tasks.KindOf(err) != tasks.Internal {
		t.Errorf("an altering command in check mode: %v", err)
	}
}

func TestNothingIsAlteredWithoutARecorder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	_, err := tasks.NewSys(tasks.Options{}).WriteFile(context.Background(), path, tasks.Text(nil), tasks.Attrs{}, tasks.WriteOptions{})
	if tasks.KindOf(err) != tasks.Internal {
		t.Errorf("have %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file was written")
	}
}

// undone is what taking back a command by a step, or firing it again as a handler, comes to.
func undone(t *testing.T, o tasks.Options) journal.Report {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(dir, "r", journal.Holder{})
	if err != nil {
		t.Fatal(err)
	}
	o.Recorder = j
	if _, err := tasks.NewSys(o).Exec(t.Context(), tasks.Cmd{Argv: []string{"true"}, Alters: true}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	kinds := tasks.NodeKinds(tasks.KindOptions{Modules: node.Modules()})
	report, err := journal.Undo(t.Context(), dir, "r", journal.UndoOptions{Fire: true}, kinds)
	if err != nil || len(report.Items) != 1 {
		t.Fatalf("the undo: %+v, %v", report, err)
	}
	return report
}

// TestArgumentsOfAnUndoAreNotShown when it fails: what it says is in the output of the run, and in its record.
func TestArgumentsOfAnUndoAreNotShown(t *testing.T) {
	for name, c := range map[string]struct {
		module string
		args   map[string]any
		noLog  bool
		want   string
	}{
		"command": {"command", map[string]any{"cmd": "false --password s3cret"}, false, "cannot run command false: non-zero return code"},
		"argv":    {"command", map[string]any{"argv": []any{"sh", "-c", ": s3cret; exit 1"}}, false, "cannot run command sh: non-zero return code"},
		"shell":   {"shell", map[string]any{"cmd": "PASSWORD=s3cret false"}, false, "cannot run shell: non-zero return code"},
		"said":    {"shell", map[string]any{"cmd": "echo why >&2; false"}, false, "cannot run shell echo: non-zero return code: why"},
		"no_log":  {"shell", map[string]any{"cmd": "echo s3cret >&2; false"}, true, "cannot run shell: why is hidden, because its task says no_log"},
		"mistake": {"file", map[string]any{"path": "/x", "mode": "s3cret"}, true, "cannot run file: why is hidden, because its task says no_log"},
	} {
		inv := tasks.Invocation{Module: c.module, Args: c.args, NoLog: c.noLog}
		for what, o := range map[string]tasks.Options{"undo": {Undo: []tasks.Invocation{inv}}, "handler": {Handler: &inv}} {
			said := undone(t, o).Items[0].Error
			if !strings.HasPrefix(said, c.want) || strings.Contains(said, "s3cret") {
				t.Errorf("%s, %s: it says %q", name, what, said)
			}
		}
	}
}
