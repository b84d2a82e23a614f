package testenv

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A test process cannot be relied on to tidy up: it may be killed, or time out. So its lab is
// removed by a second process, the reaper: the same test binary, started with reaperEnv,
// which waits for the end of a pipe that the test process never closes.

// reaperEnv holds the name and the folder of the lab to remove, with a newline between.
const reaperEnv = "CALROLL_LAB_REAPER"

// A test binary has no other place than this to become the reaper in, before it runs tests.
func init() {
	lab := os.Getenv(reaperEnv)
	if lab == "" || !testing.Testing() {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	name, dir, _ := strings.Cut(lab, "\n")
	if err := reap(context.Background(), name, dir); err != nil {
		os.Exit(1) // nobody listens; the next test process tries again
	}
	os.Exit(0)
}

func reap(ctx context.Context, name, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	eng, err := reachEngine(ctx, nil)
	if err != nil {
		return err
	}
	if err := eng.removeLab(ctx, name); err != nil {
		return err
	}
	return removeFolder(dir)
}

// reapAtExit has the lab removed when this process has ended.
func reapAtExit(name, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot start the reaper: %w", err)
	}
	reaper := exec.Command(self)
	reaper.Env = append(os.Environ(), reaperEnv+"="+name+"\n"+dir)
	reaper.Dir = "/"
	reaper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
	if _, err := reaper.StdinPipe(); err != nil {           // held open until this process ends
		return fmt.Errorf("cannot start the reaper: %w", err)
	}
	if err := reaper.Start(); err != nil {
		return fmt.Errorf("cannot start the reaper: %w", err)
	}
	reapersLock.Lock()
	defer reapersLock.Unlock()
	reapers = append(reapers, reaper)
	return nil
}

// reapers keeps the pipes from being collected, which would close them.
var (
	reapersLock sync.Mutex // guards reapers
	reapers     []*exec.Cmd
)

// thisProcess names this process so that another can tell whether it is still there: process
// id namespace, process id and start time.
func thisProcess() string {
	return processName(os.Getpid())
}

func processName(pid int) string {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The command in parentheses may hold spaces; the start time is field 22, counted from
	// the command as field 2.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return fmt.Sprintf("%s %d %s %s", namespace, pid, fields[22-3], strings.TrimSpace(string(boot)))
}

// removeOrphans removes labs of processes that have ended and whose reaper did not succeed. One that the engine will not let go of is said and left: it
// takes up a subnet, and stands in nobody's way.
func (e *engine) removeOrphans(ctx context.Context) error {
	labs, err := e.list(ctx)
	if err != nil {
		return err
	}
	for _, lab := range labs {
		if !orphaned(lab.owner) {
			continue
		}
		if err := reap(ctx, lab.Name, lab.Dir); err != nil {
			e.progress(fmt.Sprintf("what an ended process has left stays: %v", err))
		}
	}
	return nil
}

// orphaned tells whether the owner has ended. An owner in another process id namespace may
// still be there, unless the machine has been booted since.
func orphaned(owner string) bool {
	words, self := strings.Fields(owner), strings.Fields(thisProcess())
	if len(words) != 4 || len(self) != 4 {
		return false
	}
	if words[3] != self[3] {
		return true
	}
	pid, err := strconv.Atoi(words[1])
	return err == nil && words[0] == self[0] && processName(pid) != owner
}
