package tasks_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/tasks/node"
)

// killedHelper names the folder in which this test program is to be a helper that is killed inside a command.
const killedHelper = "TEST_KILLED_HELPER"

// TestUndoEndsWhatAKilledHelperLeft: a command whose helper was killed does not go on after the undo, and its children neither. What a command that
// ended has left running stays.
func TestUndoEndsWhatAKilledHelperLeft(t *testing.T) {
	if dir := os.Getenv(killedHelper); dir != "" {
		beHelper(dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestUndoEndsWhatAKilledHelperLeft$")
	cmd.Env = append(os.Environ(), killedHelper+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	file := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	until(t, "the commands run", func() bool { return file("left") && file("child") })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	kinds := tasks.NodeKinds(tasks.KindOptions{Modules: node.Modules()}).Merge(node.Kinds())
	report, err := journal.Undo(t.Context(), dir, "r", journal.UndoOptions{}, kinds)
	if err != nil || !report.OK() {
		t.Fatalf("the undo: %+v, %v", report, err)
	}
	if lives(t, dir, "child") || lives(t, dir, "shell") {
		t.Error("the command in hand still runs after the undo")
	}
	if !lives(t, dir, "left") {
		t.Error("what the command before has left running was ended too")
	}
	if file("made") {
		t.Error("the command went on")
	}
	kill(t, dir, "left")
}

// beHelper runs a command that leaves something running, and then one that does not end.
func beHelper(dir string) {
	j, err := journal.Open(dir, "r", journal.Holder{})
	if err != nil {
		panic(err)
	}
	script := func(text string) {
		sys := tasks.NewSys(tasks.Options{Recorder: j, Undo: []tasks.Invocation{{Module: "command", Args: map[string]any{"cmd": "true"}}}})
		m, _ := tasks.SpecOf(&node.Shell{}).Decode(map[string]any{"cmd": text, "chdir": dir})
		tasks.Run(context.Background(), m, sys)
	}
	script("sleep 300 >/dev/null 2>&1 & echo $! >left.new; mv left.new left")
	script("echo $$ >shell; sh -c 'echo $$ >child.new; mv child.new child; exec sleep 300'; touch made")
}

func pidIn(t *testing.T, dir, name string) (pid int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err == nil {
		_, err = fmt.Sscan(string(text), &pid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// lives tells whether the process whose number a file has is there and no zombie.
func lives(t *testing.T, dir, name string) bool {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pidIn(t, dir, name)))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func kill(t *testing.T, dir, name string) {
	t.Helper()
	if err := syscall.Kill(pidIn(t, dir, name), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}
