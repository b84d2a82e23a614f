package action

import (
	"context"
	"fmt"
	"time"

	"github.com/calroll/calroll/tasks"
)

type pauseArgs struct {
	onController
	Seconds *float64 `arg:"seconds" doc:"how long"`
	Minutes *float64 `arg:"minutes" doc:"how long"`
	Prompt  string   `arg:"prompt" doc:"what to ask; without a time the run goes on when the user has answered"`
	Echo    bool     `arg:"echo,default=true" doc:"show what the user types"`
}

// Rules are constraints between the arguments.
func (*pauseArgs) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"seconds", "minutes"}}}
}

// length is how long to wait; 0 is until the user has answered.
func (a *pauseArgs) length() time.Duration {
	switch {
	case a.Seconds != nil:
		return max(time.Duration(*a.Seconds*float64(time.Second)), 1)
	case a.Minutes != nil:
		return max(time.Duration(*a.Minutes*float64(time.Minute)), 1)
	}
	return 0
}

func pause(ctx context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &pauseArgs{})
	if err != nil {
		return Answer{}, err
	}
	start := time.Now()
	typed, said := "", ""
	if wait := args.length(); wait > 0 {
		said = fmt.Sprintf("Paused for %g seconds", wait.Seconds())
		err = Wait(ctx, wait)
	} else {
		typed, err = c.Ask(ctx, args.prompt(), args.Echo)
	}
	if err != nil {
		return Answer{}, err
	}
	var r tasks.Result
	r.Set("delta", int(time.Since(start).Seconds()))
	r.Set("echo", args.Echo)
	r.Set("user_input", typed)
	r.Set("stdout", said)
	r.Set("stderr", "")
	r.Set("rc", 0)
	return Answer{Result: r}, nil
}

func (a *pauseArgs) prompt() string {
	if a.Prompt == "" {
		return "Press enter to continue, Ctrl+C to interrupt"
	}
	return a.Prompt
}

// Wait waits for d, or for the end of ctx.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
