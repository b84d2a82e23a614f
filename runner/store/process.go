package store

import (
	"cmp"
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

// bastionVar names this machine for others; without it that is its host name, which in a container says little.
const bastionVar = "CALROLL_BASTION"

// Bastion is what this machine is called.
func Bastion() string {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return cmp.Or(os.Getenv(bastionVar), name)
}

// here is this machine.
func here() machine { return machine{Bastion(), bootID(), beganAt} }

// stateAt is the state of a run as a machine sees it. Of a run of another machine it can say no more than that does itself; see Claimed.
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
func (m Meta) Elsewhere() bool { return m.State == Running && m.Bastion != Bastion() }

// Claimed tells the store of runs that machines share which of them are claimed. One that says it is running on another machine and is not claimed
// was killed there.
func (s *Store) Claimed(runs map[string]bool) { s.claimed = runs }

// claim has a run know that its claim has ended.
func (m *Meta) claim(runs map[string]bool) {
	if claimed, shared := runs[m.ID]; shared && !claimed && m.Elsewhere() {
		m.State, m.Unclaimed = Killed, true
	}
}

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
