package runner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/machine"
	"github.com/calroll/calroll/tasks"
)

// soakTime is for how long the soak gates of a batch have to hold, and how often they are asked.
type soakTime struct {
	length, every time.Duration
	since         time.Time // of the running batch
}

// soakTime reads the play's soak, and the shortest delay of its soak gates.
func (p *play) soakTime() (soakTime, error) {
	var s soakTime
	if len(p.def.Soak) == 0 {
		return s, nil
	}
	text, err := p.def.SoakTime.Get(p.playRender, "")
	if err != nil {
		return s, err
	}
	if s.length, err = playbooks.ParseDuration(text); err != nil {
		return s, source.Errorf(p.def.SoakTime.Pos, "cannot use \"soak\": %w", err)
	}
	for _, t := range leavesOf(p.def.Soak) {
		seconds, err := t.Delay.Get(p.playRender, defaultDelay)
		if err != nil {
			return s, err
		}
		if every := time.Duration(seconds * float64(time.Second)); s.every == 0 || every < s.every {
			s.every = every
		}
	}
	return s, nil
}

func leavesOf(nodes []playbooks.Node) []*playbooks.Task {
	var tasks []*playbooks.Task
	for _, n := range nodes {
		switch n := n.(type) {
		case *playbooks.Task:
			tasks = append(tasks, n)
		case *playbooks.Block:
			tasks = append(tasks, leavesOf(slices.Concat(n.Main, n.Rescue, n.Always))...)
		}
	}
	return tasks
}

// round waits until the next round of the soak gates is due. The last one comes at the end of the soak time; check mode asks once.
func (p *play) round(ctx context.Context, want machine.Soak) []machine.Output {
	if p.passed(want.Hosts) {
		return p.machine.Step(machine.Soaked{Over: true})
	}
	s := &p.soak
	if want.Round == 1 {
		s.since = time.Now()
		p.emit(event.Event{Kind: event.SoakStart, Hosts: want.Hosts, Seconds: s.length.Seconds(), Message: fmt.Sprintf("%s, every %s", s.length, s.every)})
		return p.machine.Step(machine.Soaked{})
	}
	left := s.length - time.Since(s.since)
	if left > 0 && !p.o.Check && action.Wait(ctx, min(s.every, left)) == nil {
		return p.machine.Step(machine.Soaked{})
	}
	held := fmt.Sprintf("held for %s, asked %d times", s.length, want.Round-1)
	switch {
	case ctx.Err() != nil:
		held = "stopped"
		p.machine.Step(machine.Cancel{}) // a batch that has not soaked has not passed
	case p.o.Check:
		held = "asked once, in check mode"
	}
	p.emit(event.Event{Kind: event.SoakEnd, Hosts: want.Hosts, Seconds: time.Since(s.since).Seconds(), Message: held})
	return p.machine.Step(machine.Soaked{Over: true})
}

// hush keeps a round of soak gates to itself, unless something fails: the first round has shown what they are.
type hush struct {
	start event.Event // of the running task, shown with what fails
}

// beQuiet starts or ends hushing for the task that comes.
func (p *play) beQuiet(quiet bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hushed = nil
	if quiet {
		p.hushed = &hush{}
	}
}

// hears gives what is to be shown when e happens; run.mu is held.
func (h *hush) hears(e event.Event) []event.Event {
	switch {
	case h == nil:
		return []event.Event{e}
	case e.Kind == event.TaskStart:
		h.start = e
		return nil
	case !breaksSilence(e):
		return nil
	case h.start.Kind != "":
		shown := []event.Event{h.start, e}
		h.start = event.Event{}
		return shown
	}
	return []event.Event{e}
}

func breaksSilence(e event.Event) bool {
	switch e.Kind {
	case event.HostDone, event.ItemDone:
		return e.Status == event.Failed || e.Status == event.Unreachable
	case event.HostStart, event.Retry, event.Included, event.TaskEnd:
		return false
	}
	return true
}

// ask has the user type a line.
func (c *call) ask(ctx context.Context, prompt string, echo bool) (string, error) {
	if c.o.Ask == nil {
		return "", &tasks.Error{Kind: tasks.Failed, Op: "ask \"" + prompt + "\"", Detail: "there is no terminal to answer at"}
	}
	c.asking.Lock()
	defer c.asking.Unlock()
	c.emit(event.Event{Kind: event.Prompt, Host: c.host.name, Message: "[" + c.task.Name.Text() + "]\n" + prompt + ": "})
	return c.o.Ask(ctx, echo)
}

// looksOnly are modules that check mode would pass over because they cannot say what they would do. As gates they only look, so they are
// carried out in check mode too.
var looksOnly = []string{"command", "shell", "raw", "script", "uri", "promql", "wait_for", "k8s_exec"}

// checkMode is whether a task runs in check mode when it does not say so itself.
func (c *call) checkMode() bool {
	return c.o.Check && (!c.task.Gate.IsSet() || !slices.Contains(looksOnly, c.task.Module))
}
