package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/remote"
)

// lostPatience is how long an undo tries to come back to hosts whose connection was lost: sshd is there again within seconds, a machine that was booted
// within a minute.
const lostPatience = time.Minute

// patience is what is left of it in one undo. Hosts wait together, from the first that did not answer on.
type patience struct {
	hurry <-chan struct{} // closed when the user wants an end

	mu    sync.Mutex // guards what follows
	until time.Time
	told  map[string]bool // hosts of which the user knows
}

func newPatience(ctx context.Context) *patience {
	return &patience{hurry: ctx.Done(), told: map[string]bool{}}
}

// left is for how long a host is tried still, and whether this is the first that is heard of it.
func (p *patience) left(host string) (left time.Duration, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until.IsZero() {
		p.until = time.Now().Add(lostPatience)
	}
	first = !p.told[host]
	p.told[host] = true
	return time.Until(p.until), first
}

// patiently does something on a host as an identity that has worked on this run. If the connection is lost, or was before, that is tried again for a
// while: the host may be on its way back. If it may be going back by itself, that is waited for.
func (r *run) patiently(ctx context.Context, w way, u undoing, do func(*remote.Client) error) error {
	if u.back != nil && !u.back.there {
		r.fleet.returns(w.Host)
	}
	for attempt := 0; ; attempt++ {
		limited, cancel := u.back.limit(ctx)
		c, done, err := r.fleet.again(limited, w)
		cancel()
		if err == nil {
			err = do(c)
			done()
		}
		switch {
		case u.back != nil && r.comesBack(ctx, w.Host, u.back, err):
		case u.back == nil && isLost(err) && r.waits(ctx, w, u.patience, attempt):
		default:
			return err
		}
	}
}

// waits lets some time pass before another attempt. It is false when there is to be none: the run was never on the host, the user wants no attempts or
// an end, or it has been long enough.
func (r *run) waits(ctx context.Context, w way, p *patience, attempt int) bool {
	if p == nil || w.SSH.Retries == 0 || !r.fleet.hasBegun(w) {
		return false
	}
	left, first := p.left(w.Host)
	if left <= 0 {
		return false
	}
	if first {
		r.emit(event.Event{Kind: event.Warning, Host: w.Host,
			Message: fmt.Sprintf("%s is not reachable; trying for %.0f s to take it back", w.Host, left.Seconds())})
	}
	select {
	case <-time.After(min(time.Second<<min(attempt, 3), left)):
		return true
	case <-p.hurry:
	case <-ctx.Done():
	}
	return false
}
