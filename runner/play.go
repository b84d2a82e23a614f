package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/machine"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks"
)

// play carries one play out.
type play struct {
	*run
	world     *vars.World // of its own when it goes at the same time as others
	lane      int         // which of them it is, from 1; 0 when it goes alone
	running   string      // the task, when it is one of several plays
	hushed    *hush       // not nil: only what fails is shown and counted; guarded by run.mu
	def       *playbooks.Play
	index     int // of the play in the run, from 0
	machine   *machine.Machine
	hosts     map[string]*host
	all       []string // the play's hosts, in order
	absent    []string // those that an earlier play has lost
	away      []string // hosts that the inventory says are absent: they are none of all
	soak      soakTime
	confirmed time.Duration // how long hosts wait to be confirmed; 0 for ever
	unheard   []string      // hosts that could not be connected to for that
	batch     []string
	handlers  []*ref
	limit     timeLimit
	rollback  machine.Scope
	since     int64               // the number of the first task that an undo takes back
	stopped   bool                // the machine knows that the run is canceled
	visits    map[store.Place]int // how often a host has come to a task
}

// host is an inventory host in a play.
type host struct {
	name string
	// done are the roles completed on the host in this play, by playbooks.Role.Key; began those of which a task ran.
	done, began map[string]bool
	blocks      map[int]int64 // the numbers of the first tasks of blocks with a rescue section, as machine.Rescues names them
}

// ref is a playbook's task as the machine carries it.
type ref struct {
	task  *playbooks.Task
	extra *value.Dict // loop variables of the includes around it
}

// outcome is what a task came to on one host.
type outcome struct {
	host    *host
	result  result
	ignored bool
	passed  bool // over in silence: a role that has run already

	hidden   bool // no_log
	recalled bool // done by an earlier process of the run
	notified bool // it changed something when it was done before: its handlers still have to run
	unbegun  bool // the run was canceled before its turn
	number   int64
}

// carryOut runs the play until the machine ends it.
func (p *play) carryOut(ctx context.Context) (machine.EndPlay, error) {
	outs := p.machine.Step(machine.Begin{})
	for len(outs) > 0 {
		if ctx.Err() != nil {
			outs = append(outs, p.cancel(ctx)...)
		}
		out := outs[0]
		outs = outs[1:]
		if end, ok := out.(machine.EndPlay); ok {
			return end, nil
		}
		more, err := p.obey(ctx, out)
		if err != nil {
			return machine.EndPlay{Break: true}, err
		}
		outs = append(outs, more...)
	}
	return machine.EndPlay{Break: true}, &tasks.Error{Kind: tasks.Internal, Op: "finish the play", Detail: "it stopped without an end"}
}

// cancel tells the machine, once, that no further task begins.
func (p *play) cancel(ctx context.Context) []machine.Output {
	if p.stopped {
		return nil
	}
	p.stopped = true
	p.emit(event.Event{Kind: event.Warning, Message: fmt.Sprintf("%v: no further task begins", context.Cause(ctx))})
	return p.machine.Step(machine.Cancel{})
}

// obey carries out what the machine wants and tells it what came of it.
func (p *play) obey(ctx context.Context, out machine.Output) ([]machine.Output, error) {
	switch out := out.(type) {
	case machine.StartBatch:
		p.batch = out.Hosts
		p.startBatch(out)
		p.world.StartBatch(out.Hosts)
		p.emit(event.Event{Kind: event.BatchStart, Batch: out.Number, Batches: out.Of, Hosts: out.Hosts, Canary: out.Canary, Confirm: p.confirmed.Seconds()})
		return nil, nil
	case machine.Run:
		p.beQuiet(out.Round > 1)
		defer p.beQuiet(false)
		return p.task(ctx, out)
	case machine.Soak:
		return p.round(ctx, out), nil
	case machine.Confirm:
		return p.confirm(ctx, out.Hosts), nil
	case machine.Halt:
		p.emit(event.Event{Kind: event.Halt, Message: haltText(out)})
	case machine.Undo:
		return p.undo(ctx, out.Hosts), nil
	case machine.Commit:
		p.commit(ctx, out.Hosts)
	}
	return nil, nil
}

// task runs a task on its hosts, applies what came of it, and answers the machine.
func (p *play) task(ctx context.Context, want machine.Run) ([]machine.Output, error) {
	r := want.Node.Ref.(*ref)
	if r.task.Implicit {
		return p.implicit(r.task, want), nil
	}
	outcomes := p.onHosts(ctx, r, want)
	p.bringIn(r.task, outcomes)
	p.apply(r, want, outcomes)
	var outs []machine.Output
	if slices.ContainsFunc(outcomes, func(o outcome) bool { return o.unbegun }) { // before the machine takes the batch for done
		outs = p.cancel(ctx)
	}
	more, err := p.answer(r, outcomes)
	return append(outs, more...), err
}

// onHosts runs a task on hosts, at most forks of them at a time.
func (p *play) onHosts(ctx context.Context, r *ref, want machine.Run) []outcome {
	outcomes := make([]outcome, len(want.Hosts))
	places := make(chan struct{}, p.forks(r.task))
	var number int64
	start := sync.OnceFunc(func() {
		number = p.nextTask()
		p.startTask(r, want.Hosts[0], number)
	})
	var wg sync.WaitGroup
	for i, name := range want.Hosts {
		h, of := p.hosts[name], want.Of(name)
		o, at, done := p.before(ctx, r, h, of)
		if !done && !p.turn(ctx, places) {
			o.passed, o.unbegun, done = true, true, true
		}
		if outcomes[i] = o; done {
			continue
		}
		start()
		wg.Go(func() {
			defer func() { <-p.slots; <-places }()
			p.begins(r, at, of, number)
			outcomes[i] = p.onHost(ctx, r, h, number)
			outcomes[i].notified, outcomes[i].number = o.notified, number
			p.enters(h, number)
			p.keep(r, outcomes[i], at, of)
		})
	}
	wg.Wait()
	p.entered(want, outcomes)
	if p.lane > 0 && number > 0 {
		p.emit(event.Event{Kind: event.TaskEnd, TaskNo: number})
	}
	return outcomes
}

// before is what a task came to on a host when that is known before it is done: an earlier process has done it, or its role is complete there.
func (p *play) before(ctx context.Context, r *ref, h *host, of []string) (o outcome, at store.Place, done bool) {
	if role := r.task.Role; role != nil && !r.task.Handler && h.done[role.Key] && !role.AllowDuplicates {
		return outcome{host: h, passed: true}, at, true
	}
	at = p.place(r, h.name, of)
	o, done = p.recall(ctx, r, h, at, of)
	return o, at, done
}

// turn waits for a host's turn. It has not come when the run was canceled before.
func (p *play) turn(ctx context.Context, places chan struct{}) bool {
	places <- struct{}{}
	p.slots <- struct{}{}
	if ctx.Err() == nil {
		return true
	}
	<-p.slots
	<-places
	return false
}

// entered notes which blocks have begun on hosts with what was recalled, or what one host has done for them.
func (p *play) entered(want machine.Run, outcomes []outcome) {
	for _, o := range outcomes {
		for _, name := range want.Of(o.host.name) {
			if o.number > 0 {
				p.enters(p.hosts[name], o.number)
			}
		}
	}
}

func (p *play) forks(t *playbooks.Task) int {
	n := max(p.o.Forks, 1)
	if throttle, err := t.Throttle.Get(p.playRender, 1); err != nil {
		n = 1 // it needs a host's variables: one at a time keeps every limit
	} else if t.Throttle.IsSet() && throttle > 0 {
		n = min(n, throttle)
	}
	return n
}

// startTask announces a task under its name as the first host renders it.
func (p *play) startTask(r *ref, host string, number int64) {
	name := r.task.Name.Text()
	if t, ok := r.task.Name.Template(); ok {
		if v, err := p.scope(r, host).Render(t); err == nil {
			name = expr.String(v)
		}
	}
	if name = taskName(r.task, name); p.lane > 0 {
		p.running = name
	}
	p.emit(event.Event{Kind: event.TaskStart, Task: name, TaskNo: number, Action: r.task.Action, Handler: r.task.Handler, Gate: r.task.Gate.Text(),
		Where: r.task.Pos.String(), Pos: r.task.Pos})
}

// taskName is "role : name" inside a role, as Ansible shows it.
func taskName(t *playbooks.Task, name string) string {
	switch {
	case t.Include != nil && t.Include.Use != nil && name == "":
		return t.Action + " : " + t.Include.Use.Name.Text()
	case t.Include != nil && t.Include.Use != nil:
		return name
	case name == "":
		name = t.Action
	}
	if t.Role != nil {
		return t.Role.Name + " : " + name
	}
	return name
}

func (p *play) onHost(ctx context.Context, r *ref, h *host, number int64) outcome {
	ctx, cancel := p.limit.on(ctx)
	defer cancel()
	p.emit(event.Event{Kind: event.HostStart, Host: h.name, TaskNo: number, Task: p.running})
	began := time.Now()
	c := &call{play: p, task: r.task, extra: r.extra, host: h, number: number, scope: p.scope(r, h.name)}
	o := outcome{host: h}
	if err := context.Cause(ctx); errors.As(err, new(*timeLimit)) {
		o.result = failure(err)
	} else {
		o.result = c.run(ctx)
	}
	o.hidden = c.set.noLog
	o.ignored = o.result.Failed && (c.set.ignoreErrors && !o.result.unreachable() || c.set.ignoreUnreachable && o.result.unreachable())
	p.show(c, &o, time.Since(began))
	return o
}

// show emits how the task ended on the host, and counts it.
func (p *play) show(c *call, o *outcome, took time.Duration) {
	if o.result.include != nil || len(o.result.includes) > 0 {
		return // bringIn counts it
	}
	if c.task.Module == "meta" {
		return
	}
	e := c.event(event.HostDone, o.result)
	e.TaskNo, e.Seconds, e.Loop = c.number, took.Seconds(), c.task.Loop != nil && o.result.more["results"] != nil
	if e.Loop {
		e.Diff = nil // the items have shown theirs
		delete(e.Result, "results")
	}
	if o.ignored {
		e.Status = event.Ignored
	}
	for _, w := range o.result.Warnings {
		p.emit(event.Event{Kind: event.Warning, Host: o.host.name, Message: w})
	}
	status := e.Status
	if status == event.Failed && p.machine.Rescuable(o.host.name) {
		status, e.Rescued = event.Rescued, true
	}
	p.emit(e)
	p.count(o.host.name, status, o.result.Changed)
}

// implicit runs role_complete: no event, no count.
func (p *play) implicit(t *playbooks.Task, want machine.Run) []machine.Output {
	var outs []machine.Output
	for _, name := range want.Hosts {
		if h := p.hosts[name]; h.began[t.Role.Key] {
			h.done[t.Role.Key] = true
		}
		outs = append(outs, p.machine.Step(machine.Done{Host: name})...)
	}
	return outs
}

// apply adds what the hosts answered to the variables. With run_once the first host's answer is everybody's.
func (p *play) apply(r *ref, want machine.Run, outcomes []outcome) {
	p.joinAll(outcomes)
	for _, o := range outcomes {
		if o.passed {
			continue
		}
		if o.result.degraded {
			p.markDegraded()
		}
		to := []string{o.host.name}
		if want.Node.RunOnce && (!forOne[r.task.Module] || p.constant(r.task.RunOnce)) {
			to = want.For
		}
		for _, name := range to {
			p.applyTo(name, r.task, o)
		}
		if r.task.Role != nil && !o.result.Skipped {
			o.host.began[r.task.Role.Key] = true
		}
	}
}

func (p *play) applyTo(name string, t *playbooks.Task, o outcome) {
	hv := p.world.Host(name)
	hv.WrittenBy(writer(t))
	for _, r := range o.result.each() {
		hv := hv
		if r.delegateFacts {
			hv = p.world.Host(r.via)
			hv.WrittenBy(writer(t))
		}
		if r.keep {
			hv.AddFacts(r.facts)
		}
		switch {
		case r.facts != nil && r.factsAsVars:
			hv.IncludeVars(r.facts)
		case r.facts != nil:
			hv.SetFacts(r.facts)
		case len(r.Facts) > 0:
			d, _ := value.FromGo(r.Facts).(*value.Dict)
			hv.AddFacts(d)
		}
	}
	if t.Register != "" {
		hv.Register(t.Register, o.result.vars())
	}
	if o.result.Failed && !o.ignored && name == o.host.name && p.machine.Rescuable(name) {
		hv.SetFacts(value.NewDict("ansible_failed_task", taskVars(t), "ansible_failed_result", o.result.vars()))
	}
}

// joinAll carries out what add_host and group_by answered. A circle of groups is a failure of its host.
func (p *play) joinAll(outcomes []outcome) {
	for i, o := range outcomes {
		if o.passed {
			continue
		}
		for _, r := range o.result.each() {
			if r.join == nil || r.Failed {
				continue
			}
			if err := p.join(o.host.name, r.join); err != nil {
				outcomes[i].result = failure(err)
				p.showFailure(o.host.name, outcomes[i].result)
			}
		}
	}
}

// join lets a host join groups; plays to come, and the variables of tasks to come, see it.
func (p *play) join(name string, j *action.Join) error {
	inv := p.o.Inventory
	if j.Host != "" {
		name = j.Host
	}
	for _, g := range j.Groups {
		if _, err := inv.AddGroup(g, j.Parents...); err != nil {
			return err
		}
	}
	h := inv.AddHost(name, j.Groups...)
	h.Vars.PutAll(value.NewVars(j.Vars, source.Pos{}))
	p.grown = true
	p.world.InventoryChanged()
	return nil
}

// each are the results of a loop's items, or the result itself.
func (r result) each() []result {
	if len(r.items) > 0 {
		return r.items
	}
	return []result{r}
}

// taskVars is ansible_failed_task.
func taskVars(t *playbooks.Task) *value.Dict {
	return value.NewDict("name", t.Name.Text(), "action", t.Action)
}

// answer tells the machine how each host did. A notification that no handler answers is a mistake of the playbook, and ends the run as under
// Ansible; unless the play wants failures taken back: then it is a failure.
func (p *play) answer(r *ref, outcomes []outcome) ([]machine.Output, error) {
	var outs []machine.Output
	for _, o := range outcomes {
		done := machine.Done{Host: o.host.name}
		switch {
		case o.ignored, o.passed:
		case o.result.unreachable():
			done.Outcome = machine.Unreachable
		case o.result.Failed:
			done.Outcome = machine.Failed
		case o.result.Changed, o.notified:
			notify, err := p.notified(r, o.host.name)
			if err != nil && p.rollback == machine.None {
				return nil, err
			} else if err != nil {
				p.emit(event.Event{Kind: event.HostDone, Host: o.host.name, Status: event.Failed, Where: r.task.Pos.String(), Result: map[string]any{"msg": err.Error()}})
				p.count(o.host.name, event.Failed, false)
				done.Outcome = machine.Failed
			}
			done.Notify = notify
		}
		if word, ok := o.result.more["meta"].(string); ok && !o.result.Failed {
			done.Outcome = p.meta(word, o.host.name)
		}
		outs = append(outs, p.machine.Step(done)...)
	}
	for _, h := range p.batch {
		p.world.SetGone(h, p.machine.Removed(h))
	}
	return outs, nil
}

// notified are the handlers that a task notifies, by index.
func (p *play) notified(r *ref, host string) ([]int, error) {
	var indexes []int
	for _, n := range r.task.Notify {
		names, err := p.notification(n, r, host)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			found := p.handlersNamed(name)
			if len(found) == 0 {
				return nil, p.noHandler(n.Pos, name)
			}
			indexes = append(indexes, found...)
		}
	}
	return indexes, nil
}

// notification is what one entry of notify names: a template may render to a list.
func (p *play) notification(n playbooks.Setting[string], r *ref, host string) ([]string, error) {
	t, isTemplate := n.Template()
	if !isTemplate {
		return []string{n.Text()}, nil
	}
	v, err := p.scope(r, host).Render(t)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var names []string
	for _, e := range list {
		names = append(names, expr.String(e))
	}
	return names, nil
}

func (p *play) noHandler(pos source.Pos, name string) error {
	var known []string
	for _, h := range p.handlers {
		known = append(known, h.task.Name.Text())
	}
	problem := source.Errorf(pos, "The requested handler '%s' was not found in either the main handlers list nor in the listening handlers list", name)
	if near := source.Nearest(name, known); near != "" {
		problem.WithHint("did you mean %q?", near)
	}
	return problem
}

// handlersNamed are the last handler of this name and all that listen to it.
func (p *play) handlersNamed(name string) []int {
	var found []int
	named := false
	for i, h := range slices.Backward(p.handlers) {
		answers, err := h.task.Answers(name, p.playRender)
		if err != nil || !answers {
			continue
		}
		if !slices.ContainsFunc(h.task.Listen, func(l playbooks.Setting[string]) bool { return l.Text() == name }) {
			if named {
				continue
			}
			named = true
		}
		found = append(found, i)
	}
	return found
}

// forgive lets hosts of the play that have failed in earlier plays take part again, from the next play on. Hosts that were lost stay out, as
// under Ansible.
func (p *play) forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.absent {
		if !p.unreached[h] {
			delete(p.gone, h)
		}
	}
	if len(p.gone) == len(p.unreached) {
		p.failed = false
	}
}

// meta carries a meta task out and says what it means for the host.
func (p *play) meta(word, host string) machine.Outcome {
	switch word {
	case "end_host":
		return machine.EndHost
	case "end_play":
		p.machine.Step(machine.EndPlayEarly{})
	case "end_batch":
		p.machine.Step(machine.EndBatch{})
	case "clear_host_errors":
		p.machine.Step(machine.ClearErrors{})
		p.forgive()
	case "clear_facts":
		p.world.Host(host).ClearFacts()
	case "reset_connection":
		if w, _, err := p.plainWay(host); err == nil {
			p.fleet.reset(context.Background(), w)
		}
	}
	return machine.OK
}
