package store

import (
	"fmt"
	"os"
	"strings"
)

// Process tells one process of a machine from all others: numbers of processes come again, and so do starts counted from a boot.
type Process struct {
	PID   int    `json:"pid"`
	Boot  string `json:"boot,omitempty"`      // the kernel's name of the boot
	Since string `json:"pid_since,omitempty"` // when the process began, in the kernel's ticks since the boot
}

// ThisProcess is the process that asks.
func ThisProcess() Process {
	since, _ := beganAt(os.Getpid())
	return Process{PID: os.Getpid(), Boot: bootID(), Since: since}
}

// machine is where one looks whether a process is still there.
type machine struct {
	name, boot string
	began      func(pid int) (since string, there bool)
}

// here is this machine.
func here() machine {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown" // as the runner has it
	}
	return machine{name, bootID(), beganAt}
}

// stateAt is the state of a run as a machine sees it. Of a run of another machine nobody can say more than it says itself.
func (m Meta) stateAt(at machine) State {
	if m.State != Running || m.Bastion != at.name || m.Boot == "" {
		return m.State
	}
	if since, there := at.began(m.PID); m.Boot == at.boot && there && since == m.Since {
		return Running
	}
	return Killed
}

// Elsewhere tells that the run says it is running, on a machine that is not this one: it may have been killed there.
func (m Meta) Elsewhere() bool { return m.State == Running && m.Bastion != here().name }

func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // not Linux: then nobody can tell that a run was killed
	}
	return strings.TrimSpace(string(text))
}

// beganAt is the 22nd field of /proc/PID/stat. The second is the program's name in brackets, and may hold anything.
func beganAt(pid int) (since string, there bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const began = 22 - 3 // of the fields behind the name
	if len(fields) <= began || fields[0] == "Z" {
		return "", false
	}
	return fields[began], true
}
