package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/tasks"
)

// call is one task on one host.
type call struct {
	*play
	task   *playbooks.Task
	extra  *value.Dict // loop variables of the includes around it
	host   *host
	number int64
	scope  *vars.Scope // without loop variables
	set    settings
}

// settings are the keywords of a task, rendered for a host.
type settings struct {
	ignoreErrors, ignoreUnreachable, noLog, check, diff, delegateFacts bool
	timeout                                                            time.Duration
}

// prepared is a call that is ready for the host's module, or that has its result already.
type prepared struct {
	result *result
	acted  bool // the result is an action's: conditions on results apply to it
	module string
	args   map[string]any
	blobs  map[string]action.Blob
	finish func(*tasks.Result)
	undo   []tasks.Invocation
	env    map[string]string
	way    way
	scope  *vars.Scope // with the item
	loop   *value.Dict // the loop's variables, nil without a loop
	label  any
	via    string
}

// run carries the task out on the host.
func (c *call) run(ctx context.Context) result {
	if err := c.settle(); err != nil {
		return failure(err)
	}
	if c.task.Loop == nil {
		return c.once(ctx, c.scope)
	}
	return c.loop(ctx)
}

// settle renders the keywords that hold for the whole task.
func (c *call) settle() error {
	in := render(c.scope)
	t, s := c.task, &c.set
	var errs []error
	get := func(set playbooks.Setting[bool], unset bool) bool {
		v, err := set.Get(in, unset)
		errs = append(errs, err)
		return v
	}
	s.ignoreErrors, s.ignoreUnreachable = get(t.IgnoreErrors, false), get(t.IgnoreUnreachable, false)
	s.delegateFacts = get(t.DelegateFacts, false)
	s.noLog, s.check, s.diff = get(t.NoLog, false), get(t.CheckMode, c.checkMode()), get(t.Diff, c.o.Diff)
	seconds, err := t.Timeout.Get(in, 0)
	s.timeout = time.Duration(seconds) * time.Second
	return errors.Join(append(errs, err)...)
}

// once runs the task for one item, or for none.
func (c *call) once(ctx context.Context, scope *vars.Scope) result {
	p := c.prepare(ctx, scope)
	return c.conclude(ctx, p)
}

// conclude is what a prepared call comes to: the host's module runs unless an action or a condition has given the result already.
func (c *call) conclude(ctx context.Context, p *prepared) result {
	switch {
	case p.result == nil:
		return c.finish(ctx, p, c.send(ctx, []*prepared{p})[0])
	case p.acted:
		return c.judgeAll(ctx, p, *p.result)
	}
	return *p.result
}

// prepare evaluates the condition, renders the arguments and lets an action have its turn.
func (c *call) prepare(ctx context.Context, scope *vars.Scope) *prepared {
	p := &prepared{scope: scope}
	r, err := c.tryPrepare(ctx, p)
	if err != nil {
		f := failure(err)
		r = &f
	}
	p.result = r
	return p
}

// tryPrepare gives a result when the host's module is not needed.
func (c *call) tryPrepare(ctx context.Context, p *prepared) (*result, error) {
	holds, err := c.holds(p.scope, c.task.When)
	if err != nil {
		return nil, fmt.Errorf("The conditional check failed. %w", err)
	}
	if !holds {
		r := skipped()
		return &r, nil
	}
	if c.task.Include != nil {
		return c.include(p.scope)
	}
	if p.way, p.via, err = c.way(p.scope); err != nil {
		return nil, err
	}
	if err := c.keepsApart(p.via); err != nil {
		return nil, err
	}
	if p.env, err = c.environment(p.scope); err != nil {
		return nil, err
	}
	raw, err := c.arguments(p.scope)
	if err != nil {
		return nil, err
	}
	if c.task.Module == "meta" {
		r := result{}
		r.set("meta", raw.At("_raw_params"))
		return &r, nil
	}
	return c.act(ctx, p, raw)
}

// holds tells whether every condition is true.
func (c *call) holds(scope *vars.Scope, conditions []playbooks.Condition) (bool, error) {
	for _, cond := range conditions {
		ok, err := scope.Condition(cond.Text, cond.Pos)
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// arguments are the task's, over those of module_defaults, rendered; what renders to omit is left out.
func (c *call) arguments(scope *vars.Scope) (*value.Dict, error) {
	args := value.NewDict()
	layers := []any{c.task.Defaults, c.task.Args.Dict()}
	if c.task.ArgsTemplate != nil {
		layers = []any{c.task.Defaults, *c.task.ArgsTemplate, c.task.Args.Dict()}
	}
	for _, layer := range layers {
		rendered, err := scope.Render(layer)
		if err != nil {
			return nil, err
		}
		switch d := expr.DropOmit(rendered).(type) {
		case nil:
		case *value.Dict:
			for k, v := range d.All() {
				args.Set(k, v)
			}
		default:
			return nil, source.Errorf(c.task.Pos, "cannot use the arguments of %s: they are no mapping", c.task.Action)
		}
	}
	return args, nil
}

// act lets the task's action answer or forward, and passes everything else on to the module.
func (c *call) act(ctx context.Context, p *prepared, raw *value.Dict) (*result, error) {
	args, _ := value.ToGo(raw).(map[string]any)
	p.module, p.args = c.task.Module, args
	if act, ok := c.actions[c.task.Module]; ok {
		c.hide(c.task.Spec, args)
		a, err := act.Act(ctx, &action.Call{Task: c.task, Args: args, Raw: raw, Scope: p.scope, Files: c.loader.Files, Check: c.set.check,
			Verbosity: c.o.Verbosity, ReadVars: c.readVars, Ask: c.ask})
		p.acted = true
		if err != nil {
			f := failure(err)
			return &f, nil
		}
		if a.Forward == nil {
			return &result{Result: a.Result, facts: a.Facts, factsAsVars: a.Vars, keep: a.Keep, verbose: a.Verbose, degraded: a.Degraded, table: a.Table, join: a.Join}, nil
		}
		p.module, p.args, p.blobs, p.finish = a.Forward.Module, a.Forward.Args, a.Forward.Blobs, a.Forward.Finish
	}
	if err := c.complete(p); err != nil {
		p.acted = true
		f := failure(err)
		return &f, nil
	}
	return nil, nil
}

// complete checks the arguments before they travel, and renders the undo.
func (c *call) complete(p *prepared) error {
	make, ok := c.modules.Lookup(p.module)
	if !ok {
		return source.Errorf(c.task.Pos, "cannot run %s: there is no such module", p.module)
	}
	spec := tasks.SpecOf(make())
	c.hide(spec, p.args)
	if _, errs := spec.Decode(p.args); len(errs) > 0 {
		return c.argumentErrors(errs)
	}
	for _, u := range c.task.Undo {
		args, err := p.scope.Render(u.Args.Dict())
		if err != nil {
			return err
		}
		seconds, err := u.Timeout.Get(render(p.scope), 0)
		if err != nil {
			return err
		}
		m, _ := value.ToGo(expr.DropOmit(args)).(map[string]any)
		p.undo = append(p.undo, tasks.Invocation{Module: u.Module, Args: m, Env: p.env, Timeout: time.Duration(seconds) * time.Second, NoLog: c.set.noLog})
	}
	return nil
}

// hide masks the values of secret arguments wherever they may turn up.
func (c *call) hide(spec *tasks.Spec, args map[string]any) {
	if spec == nil {
		return
	}
	for _, a := range spec.Args {
		for _, name := range append([]string{a.Name}, a.Aliases...) {
			if v, ok := args[name].(string); ok && a.Secret {
				c.mask.Add(v)
			}
		}
	}
}

// argumentErrors puts mistakes in arguments where the arguments are written.
func (c *call) argumentErrors(errs []tasks.ArgError) error {
	var ps source.Problems
	for _, e := range errs {
		pos := c.task.Args.Pos(e.Arg)
		if !pos.Known() {
			pos = c.task.Pos
		}
		ps.Addf(pos, "%s: %s", c.task.Module, e.Msg).Hint = e.Hint
	}
	return ps.Err()
}

// alike tells whether two prepared calls can travel in one frame.
func alike(a, b *prepared) bool {
	return maps.Equal(a.env, b.env) && reflect.DeepEqual(a.undo, b.undo)
}

// send runs prepared calls, which all go the same way and are alike, with one frame. What has begun on a host is not cut short when the run is
// canceled: it ends, and nothing is half-done.
func (c *call) send(ctx context.Context, ps []*prepared) []tasks.Result {
	client, done, err := c.client(ctx, ps[0])
	if cause := context.Cause(ctx); err != nil && errors.As(cause, new(*timeLimit)) {
		err = cause // nothing is known against the host: there was no time to get there
	}
	if err != nil {
		return failAll(ps, err)
	}
	defer done()
	ctx, cancel := c.limited(context.WithoutCancel(ctx))
	defer cancel()
	results, err := client.Run(ctx, c.wire(ps))
	if ctx.Err() != nil {
		for i := range results {
			if results[i].Failed {
				results[i].Msg = context.Cause(ctx).Error()
			}
		}
	}
	if err != nil && len(results) < len(ps) {
		results = append(results, failAll(ps[len(results):], err)...)
	}
	return results
}

// limited is ctx with the time that the task has, and what is left of the play's.
func (c *call) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := c.play.limit.on(ctx)
	if c.set.timeout == 0 {
		return ctx, cancel
	}
	ctx, also := context.WithTimeoutCause(ctx, c.set.timeout,
		fmt.Errorf("The %s action failed to execute in the expected time frame (%d) and was terminated", c.task.Action, int(c.set.timeout.Seconds())))
	return ctx, func() { also(); cancel() }
}

func failAll(ps []*prepared, err error) []tasks.Result {
	r := tasks.Failure(err)
	r.Kind = kindOf(err)
	return slices.Repeat([]tasks.Result{r}, len(ps))
}

func (c *call) client(ctx context.Context, p *prepared) (client *remote.Client, done func(), err error) {
	if c.onController(p) {
		return c.fleet.cluster(ctx, p.way)
	}
	return c.fleet.client(ctx, p.way)
}

// onController tells whether the module works on the controller in the host's place.
func (c *call) onController(p *prepared) bool {
	_, ok := c.o.Carried.Cluster.Lookup(p.module)
	return ok
}

// wire is the task as it travels.
func (c *call) wire(ps []*prepared) remote.Task {
	t := remote.Task{Number: c.number, Name: c.task.Name.Text(), Module: ps[0].module, Check: c.set.check, Diff: c.set.diff,
		Handler: c.task.Handler, Undo: ps[0].undo, Env: ps[0].env, NoLog: c.set.noLog, Timeout: c.set.timeout, GoOn: true, Blobs: map[string]remote.Source{}}
	if c.onController(ps[0]) {
		t.As = ps[0].way.becomeName()
	}
	t.Confirm = c.toConfirm(ps[0])
	if by := ps[0].way.Host; by != c.host.name {
		t.For = c.host.name
		c.delegated(c.host.name, by)
	}
	for _, p := range ps {
		t.Items = append(t.Items, remote.Item{Args: p.args})
		for sha, b := range p.blobs {
			t.Blobs[sha] = c.source(b)
		}
	}
	return t
}

func (c *call) source(b action.Blob) remote.Source {
	if b.File == "" {
		return remote.Source{Size: b.Size, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Data)), nil }}
	}
	return remote.Source{Size: b.Size, Open: func() (io.ReadCloser, error) {
		f, err := c.loader.Files.Open(b.File)
		if err != nil {
			return nil, err
		}
		return f, nil
	}}
}

// finish turns a module's result into the task's: changed_when, failed_when, and until with its retries.
func (c *call) finish(ctx context.Context, p *prepared, got tasks.Result) result {
	if p.finish != nil {
		p.finish(&got)
	}
	r := result{Result: got, via: p.via, verbose: false}
	return c.judgeAll(ctx, p, r)
}

func (c *call) judgeAll(ctx context.Context, p *prepared, r result) result {
	r.loop, r.label, r.via = p.loop, p.label, p.via
	r.delegateFacts = p.via != "" && c.set.delegateFacts
	if r.unreachable() {
		return r
	}
	r = c.judge(p.scope, r)
	if len(c.task.Until) > 0 {
		r = c.until(ctx, p, r)
	}
	return r
}

// judge applies failed_when and changed_when, which see the result under the name it is registered as.
func (c *call) judge(scope *vars.Scope, r result) result {
	if len(c.task.ChangedWhen)+len(c.task.FailedWhen) == 0 || r.Skipped {
		return r
	}
	scope = c.withResult(scope, r)
	if len(c.task.ChangedWhen) > 0 {
		ok, err := c.holds(scope, c.task.ChangedWhen)
		if err != nil {
			return judged(r, "changed_when_result", err)
		}
		r.Changed = ok
		scope = c.withResult(scope, r)
	}
	if len(c.task.FailedWhen) > 0 {
		ok, err := c.holds(scope, c.task.FailedWhen)
		if err != nil {
			return judged(r, "failed_when_result", err)
		}
		r.Failed = ok
		r.set("failed_when_result", ok)
		if !ok {
			r.Kind = ""
		}
	}
	return r
}

// judged is a result whose conditions could not be evaluated.
func judged(r result, condition string, err error) result {
	f := failure(err)
	f.Changed, f.Values, f.more = r.Changed, r.Values, r.more
	f.set(condition, f.Msg)
	f.loop, f.label, f.via = r.loop, r.label, r.via
	return f
}

// withResult is a scope in which the task's result has its registered name.
func (c *call) withResult(scope *vars.Scope, r result) *vars.Scope {
	d := r.vars()
	if c.task.Register != "" {
		scope = scope.With("registered", value.NewDict(c.task.Register, d))
	}
	return scope
}

const (
	defaultRetries = 3
	defaultDelay   = 5 // seconds
)

// until repeats the task until its conditions hold, at most retries times more.
func (c *call) until(ctx context.Context, p *prepared, r result) result {
	retries, err := c.task.Retries.Get(render(p.scope), defaultRetries)
	if err != nil {
		return judged(r, "until_result", err)
	}
	delay, err := c.task.Delay.Get(render(p.scope), defaultDelay)
	if err != nil {
		return judged(r, "until_result", err)
	}
	attempts := max(retries, 0) + 1
	if attempts == 1 {
		r.set("attempts", 1) // Ansible asks no condition then
		return r
	}
	for attempt := 1; ; attempt++ {
		r.set("attempts", attempt)
		ok, err := c.holds(c.withResult(p.scope, r), c.task.Until)
		switch {
		case err != nil:
			return judged(r, "until_result", err)
		case ok:
			return r
		case attempt >= attempts:
			r.Failed = true
			r.set("attempts", attempt-1) // as Ansible counts when all have failed
			return r
		}
		r.retried = true
		c.emit(event.Event{Kind: event.Retry, Host: c.host.name, Message: fmt.Sprintf("%s (%d retries left).", c.task.Name.Text(), attempts-attempt), Result: map[string]any{"attempts": attempt}})
		if action.Wait(ctx, time.Duration(delay*float64(time.Second))) != nil {
			return judged(r, "until_result", &tasks.Error{Kind: tasks.Canceled, Op: "try again", Err: context.Cause(ctx)})
		}
		r = c.again(ctx, p)
		if r.unreachable() {
			return r
		}
	}
}

// again runs the task once more: an action has another turn, because what it answers may have changed.
func (c *call) again(ctx context.Context, p *prepared) result {
	next := c.prepare(ctx, p.scope)
	next.loop, next.label = p.loop, p.label
	if next.result != nil {
		r := *next.result
		r.loop, r.label, r.via = p.loop, p.label, p.via
		return c.judge(p.scope, r)
	}
	got := c.send(ctx, []*prepared{next})[0]
	if next.finish != nil {
		next.finish(&got)
	}
	r := result{Result: got, via: next.via, loop: p.loop, label: p.label}
	if r.unreachable() {
		return r
	}
	return c.judge(p.scope, r)
}

func (c *call) readVars(file string) (*value.Dict, error) {
	v, err := c.loader.LoadVars(file)
	if err != nil {
		return nil, err
	}
	return v.Dict(), nil
}

// environment is what the environment keywords render to, the innermost winning.
func (c *call) environment(scope *vars.Scope) (map[string]string, error) {
	env := map[string]string{}
	for _, layer := range c.task.Environment {
		rendered, err := scope.Render(layer)
		if err != nil {
			return nil, err
		}
		d, ok := expr.DropOmit(rendered).(*value.Dict)
		if !ok {
			continue // an empty text: no variables
		}
		for k, v := range d.All() {
			env[fmt.Sprint(k)] = expr.String(v)
		}
	}
	return env, nil
}
