package runner

import (
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks/journal"
)

var pid = os.Getpid()

// newHolder is this process, for hosts and for other bastions.
func newHolder(run string) journal.Holder {
	return journal.Holder{User: userName(), Bastion: store.Bastion(), PID: pid, Started: journal.Self().Started, Run: run, Since: time.Now()}
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}

// holderFor is what a way's host is told of this controller: with the token that it gave to the identity before, and with the shared lease if
// that covers the host.
func (f *fleet) holderFor(w way) journal.Holder {
	h := f.holder
	if f.lease != nil {
		h.Lease = f.lease(w.Host)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h.Token, h.Returns = f.tokens[w.identity()], f.went[w.Host]
	return h
}

// hasBegun tells whether the run has been on the host in this process.
func (f *fleet) hasBegun(w way) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tokens[w.identity()] > 0
}

// began keeps what the host has given.
func (f *fleet) began(w way, token int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens[w.identity()] = token
}
