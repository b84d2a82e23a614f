package tasks

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// markName is in the environment of commands that their task can undo. A helper ends its commands before it ends itself; one that is killed cannot, and
// a command that goes on would alter the host after the undo. By its mark the undo finds it and all that it started.
const markName = "CALROLL_COMMAND"

// marked is env with the mark, where the command has one.
func (s *Sys) marked(env map[string]string, c Cmd) map[string]string {
	if !c.Alters || s.mark == "" {
		return env
	}
	env = maps.Clone(env)
	if env == nil {
		env = map[string]string{}
	}
	env[markName] = s.mark
	return env
}

// commandsEnded records that the commands of the task are over: what they left running, a daemon, is meant to run.
func (s *Sys) commandsEnded(ctx context.Context) {
	if s.undoKept && ctx.Err() == nil {
		_ = s.o.Recorder.Done(ctx, s.undoSeq) // without it an undo looks for processes that are not there
	}
}

const (
	endPatience = 15 * time.Second // until processes have to be gone
	endPoll     = 20 * time.Millisecond
)

// endMarked asks the processes with the mark to end, kills them a little later, and returns when there are none.
func endMarked(ctx context.Context, mark string) error {
	begun, tick := time.Now(), time.NewTicker(endPoll)
	defer tick.Stop()
	signal := syscall.SIGTERM
	for pids := withMark(mark); len(pids) > 0; pids = withMark(mark) {
		for _, pid := range pids {
			_ = syscall.Kill(pid, signal) // it may have ended meanwhile
		}
		select {
		case <-ctx.Done():
			return &Error{Kind: Canceled, Op: "end a command that a killed helper left", Err: context.Cause(ctx)}
		case <-tick.C:
		}
		switch waited := time.Since(begun); {
		case waited > endPatience:
			return &Error{Kind: Failed, Op: "end a command that a killed helper left", Err: errors.New("it does not end even when it is killed")}
		case waited > stopGrace:
			signal = syscall.SIGKILL
		}
	}
	return nil
}

// withMark are the processes that have the mark, as far as this user may look. One that has ended and waits for its parent has no environment.
func withMark(mark string) (pids []int) {
	want := []byte(markName + "=" + mark)
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is good
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(file)
		if err == nil && bytes.Contains(append([]byte{0}, env...), append([]byte{0}, append(want, 0)...)) {
			pids = append(pids, pid)
		}
	}
	return pids
}
