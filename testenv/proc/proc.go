// Package proc starts programs of a lab, and finds and stops them again, also from another process than the one that started them.
package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// stopWithin is how long a process may take to end by itself before it is killed.
const stopWithin = 10 * time.Second

// Proc is a process known by its number and by when it started, so that another process with the same number is
// never taken for it. It may be a child of this process or of an earlier one. A nil Proc is one that has ended.
type Proc struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // as in proc(5), in ticks since boot

	ended chan struct{} // of a child: closed when all its threads have gone, and with them what it listened on
}

// Start starts a command. With keep it has a session of its own and stays when this process ends;
// otherwise the kernel ends it together with this process.
func Start(cmd *exec.Cmd, keep bool) (*Proc, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: keep}
	if !keep {
		cmd.SysProcAttr.Setpgid = true // an interrupt at the terminal is for this process to act on
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Proc{PID: cmd.Process.Pid, Started: startedAt(cmd.Process.Pid), ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // so that an ended child does not stay as a zombie
		close(p.ended)
	}()
	return p, nil
}

// Find returns the process that was recorded, or nil when it has ended since.
func Find(pid int, started string) *Proc {
	p := &Proc{PID: pid, Started: started}
	if pid == 0 || started == "" || !p.Running() {
		return nil
	}
	return p
}

// Running tells whether it has not ended yet.
func (p *Proc) Running() bool {
	return p != nil && p.Started != "" && startedAt(p.PID) == p.Started
}

// Stop asks the process to end, waits for it, and kills it if it takes too long.
func (p *Proc) Stop() error { return p.end(syscall.SIGTERM, syscall.SIGKILL) }

// Kill gives the process no time to end well, and waits until it is gone.
func (p *Proc) Kill() error { return p.end(syscall.SIGKILL) }

func (p *Proc) end(signals ...syscall.Signal) error {
	for _, sig := range signals {
		if !p.Running() {
			break
		}
		if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("cannot stop process %d: %w", p.PID, err)
		}
		for end := time.Now().Add(stopWithin); p.Running() && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if p.Running() {
		return fmt.Errorf("cannot stop process %d: it does not end", p.PID)
	}
	if p != nil && p.ended != nil {
		<-p.ended
	}
	return nil
}

// startedAt is a running process's start time as in proc(5), in ticks since boot; empty for one that is gone or a zombie.
func startedAt(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field, the name, is in parentheses and may itself contain blanks and parentheses.
	_, rest, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}
