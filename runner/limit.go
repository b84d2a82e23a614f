package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/source"
)

// timeLimit is the time that a play may take. When it is over, what is under way is ended, and the hosts that are not done have failed: what is
// taken back then is the play's choice, as for any failure. The zero value is no limit.
type timeLimit struct {
	of  time.Duration
	end time.Time // on the monotonic clock
}

// Error says that the time is over.
func (l *timeLimit) Error() string {
	return fmt.Sprintf("the play's time limit of %s has passed", l.of)
}

// on ends ctx when the time is over.
func (l timeLimit) on(ctx context.Context) (context.Context, context.CancelFunc) {
	if l.of == 0 {
		return ctx, func() {}
	}
	return context.WithDeadlineCause(ctx, l.end, &l)
}

// timeLimit is the limit of the play, which begins now.
func (p *play) timeLimit() (timeLimit, error) {
	text, err := p.def.TimeLimit.Get(p.playRender, "")
	if err != nil || text == "" {
		return timeLimit{}, err
	}
	d, err := playbooks.ParseDuration(text)
	if err != nil {
		return timeLimit{}, source.Errorf(p.def.TimeLimit.Pos, "cannot use time_limit: %w", err)
	}
	return timeLimit{of: d, end: time.Now().Add(d)}, nil
}
