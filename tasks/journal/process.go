package journal

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process that is told from a later one of the same number.
type Process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // life of the machine, and the process's start in ticks since its boot
}

// Self is this process.
var Self = sync.OnceValue(func() Process { return ProcessOf(os.Getpid()) })

// ProcessOf is a process that lives now.
func ProcessOf(pid int) Process { return Process{PID: pid, Started: life() + "/" + startOf(pid)} }

// Gone tells whether the process is known to have ended. One of another machine, or of before its last boot, is not known.
func (p Process) Gone() bool {
	ticks, ours := strings.CutPrefix(p.Started, life()+"/")
	if !ours || p.PID <= 0 {
		return false
	}
	if errors.Is(unix.Kill(p.PID, 0), unix.ESRCH) {
		return true
	}
	now := startOf(p.PID)
	return now != "" && now != ticks
}

// signal sends it to the process, unless that has ended.
func (p Process) signal(s unix.Signal) {
	if _, ours := strings.CutPrefix(p.Started, life()+"/"); ours && p.PID > 1 && !p.Gone() {
		_ = unix.Kill(p.PID, s) // it may end meanwhile
	}
}

// life names the time from this machine's boot to its end, as its processes see it: a container that is started again has a new one.
var life = sync.OnceValue(func() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it the start of process 1 has to do
	return strings.TrimSpace(string(id)) + "/" + startOf(1)
})

// startOf is when a process began, in ticks since the boot; "" if that cannot be seen.
func startOf(pid int) string {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	const startTime = 22 - 3 // of the fields after the name, which ends with the last bracket
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) <= startTime {
		return ""
	}
	return string(fields[startTime])
}

// boottime is the time since the boot, suspended time included. Nobody can set this clock.
var boottime = func() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // every Linux of today has it
	return time.Duration(t.Nano())
}

// Boottime is the time since this machine's boot, suspended time included. Setting the machine's clock does not alter it.
func Boottime() time.Duration { return boottime() }
