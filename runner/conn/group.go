package conn

import (
	"os"
	"syscall"
)

// ownGroup makes a command the leader of a session of its own: it has no terminal to ask
// for passwords on, and its process group can be killed as a whole.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// killGroup kills the process group that p leads.
func killGroup(p *os.Process) error {
	err := syscall.Kill(-p.Pid, syscall.SIGKILL)
	if err == syscall.ESRCH {
		return nil // all of it has ended
	}
	return err
}
