package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/machine"
	"github.com/calroll/calroll/runner/store"
)

// playbook carries the plays of a playbook out; more is false when no further one is to start.
func (r *run) playbook(ctx context.Context, book *playbooks.Playbook) (more bool, err error) {
	for i, plays := range together(book.Plays) {
		if dir := plays[0].Dir; i == 0 || dir != r.world.Dir() {
			r.world.StartPlaybook(dir)
		}
		ends, err := r.carryOut(ctx, plays)
		r.plays += len(plays)
		if err != nil {
			return false, err
		}
		more := true
		for _, end := range ends {
			r.learn(end)
			more = more && !end.Break
		}
		if !more {
			return false, nil
		}
	}
	return true, nil
}

// learn takes in how a play has ended.
func (r *run) learn(end machine.EndPlay) {
	for _, h := range end.Unreachable {
		r.unreached[h] = true
	}
	for _, h := range slices.Concat(end.Failed, end.Unreachable) {
		r.gone[h] = true
		r.world.SetGone(h, true)
	}
	r.failed = r.failed || len(end.Failed) > 0
	r.fatal = r.fatal || end.Fatal
	r.lost = r.lost || len(end.Unreachable) > 0
	r.canceled = r.canceled || end.Canceled
}

// carryOut carries plays out, several at the same time.
func (r *run) carryOut(ctx context.Context, plays []*playbooks.Play) ([]machine.EndPlay, error) {
	if len(plays) > 1 {
		return r.atOnce(ctx, plays)
	}
	p := r.newPlay(plays[0], r.world, r.plays)
	end, ready, err := p.begin()
	if err == nil && ready {
		end, err = p.carryOut(ctx)
	}
	return []machine.EndPlay{end}, err
}

// newPlay is a play that has not begun; index counts the plays of the run from 0.
func (r *run) newPlay(def *playbooks.Play, world *vars.World, index int) *play {
	return &play{run: r, world: world, def: def, index: index, hosts: map[string]*host{}, visits: map[store.Place]int{}}
}

// begin gets the play ready. When it is not, because there is no host for it, it has ended as end says.
func (p *play) begin() (end machine.EndPlay, ready bool, err error) {
	p.emit(event.Event{Kind: event.PlayStart, Play: p.def.Title(), Where: p.def.Pos.String()})
	own := playVars(p.def)
	p.world.StartPlay(own)
	if err := p.addVarsFiles(&own); err != nil {
		return end, false, err
	}
	p.world.StartPlay(own)
	hosts, matched, err := p.match()
	if err != nil {
		return end, false, err
	}
	if len(hosts) == 0 {
		p.emit(event.Event{Kind: event.NoHosts})
		return end, false, nil
	}
	hosts, matched = p.leaveOut(hosts, matched)
	inOrder := p.take(hosts)
	if len(p.all) == 0 && len(p.absent) > 0 {
		return machine.EndPlay{Break: true}, false, nil
	}
	p.world.SetHosts(matched)
	if p.limit, err = p.timeLimit(); err != nil {
		return end, false, err
	}
	inOrder = p.resumeOrder(inOrder)
	p.note(store.Line{Play: p.index, Order: p.wholeOrder(inOrder)})
	if p.record != nil {
		p.record.SetFiles(p.o.files()) // those that earlier plays have included are among them now
	}
	p.emit(event.Event{Kind: event.PlayHosts, Play: p.def.Title(), Hosts: p.all})
	p.machine, err = p.newMachine(inOrder)
	return end, err == nil, err
}

// take makes hosts those of the play; those that an earlier play has lost are absent. It gives the names of all.
func (p *play) take(hosts []*inventory.Host) (inOrder []string) {
	for _, h := range hosts {
		inOrder = append(inOrder, h.Name)
		p.world.SetGone(h.Name, p.gone[h.Name])
		if p.gone[h.Name] {
			p.absent = append(p.absent, h.Name)
		} else {
			p.all = append(p.all, h.Name)
			p.hosts[h.Name] = &host{name: h.Name, done: map[string]bool{}, began: map[string]bool{}, blocks: map[int]int64{}}
		}
	}
	return inOrder
}

// match finds the play's hosts, in the play's order; matched are their names in that of the inventory, which variables show.
func (p *play) match() (hosts []*inventory.Host, matched []string, err error) {
	var patterns []string
	for _, h := range p.def.Hosts {
		v, err := h.Get(p.playRender, "")
		if err != nil {
			return nil, nil, err
		}
		patterns = append(patterns, v)
	}
	hosts, err = p.o.Inventory.Match(strings.Join(patterns, ","), p.o.limits()...)
	if err != nil && (!p.grown || !errors.As(err, new(*inventory.UnknownNames))) {
		return nil, nil, hostProblem(p.def.Pos, strings.Join(patterns, ","), err)
	}
	matched = namesOf(hosts)
	order, err := p.def.Order.Get(p.playRender, "inventory")
	if err != nil {
		return nil, nil, err
	}
	hosts, err = inventory.Order(hosts, order)
	return hosts, matched, err
}

// hostProblem says at the play which of its hosts do not exist.
func hostProblem(pos source.Pos, pattern string, err error) error {
	var unknown *inventory.UnknownNames
	if !errors.As(err, &unknown) {
		return source.Errorf(pos, "cannot use the hosts %q: %w", pattern, err)
	}
	return source.Errorf(pos, "cannot find hosts %q: %w", pattern, err)
}

// playRender renders a play's own keywords.
func (p *play) playRender(t value.Template) (any, error) { return p.world.Play().Render(t) }

// newMachine sets the play's machine up.
func (p *play) newMachine(hosts []string) (*machine.Machine, error) {
	serial, err := p.serial()
	if err != nil {
		return nil, err
	}
	fatal, err1 := p.def.AnyErrorsFatal.Get(p.playRender, false)
	force, err2 := p.def.ForceHandlers.Get(p.playRender, p.o.ForceHandlers)
	maxFail, err3 := p.def.MaxFailPercentage.Get(p.playRender, 0)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	m := machine.Play{Hosts: hosts, Gone: p.absent, Serial: serial, AnyErrorsFatal: fatal, ForceHandlers: force, Rollback: p.scopeOfRollback()}
	if p.def.MaxFailPercentage.IsSet() {
		m.MaxFailPercentage = &maxFail
	}
	if err := p.roll(&m); err != nil {
		return nil, err
	}
	if gather, err := p.gathers(); err != nil {
		return nil, err
	} else if task := gatherTask(p.def); gather && p.chosen(task) {
		m.Facts = []*machine.Node{p.node(task, nil)}
	}
	m.Sections = [][]*machine.Node{p.nodes(p.def.PreTasks, nil), p.nodes(p.def.Tasks, nil), p.nodes(p.def.PostTasks, nil)}
	for _, h := range p.def.Handlers {
		m.Handlers = append(m.Handlers, p.handler(h, nil))
	}
	p.rollback = m.Rollback
	return machine.New(m)
}

func (p *play) scopeOfRollback() machine.Scope {
	if p.o.Check {
		return machine.None
	}
	return promised(p.o, p.def)
}

func (p *play) gathers() (bool, error) { return p.def.GatherFacts.Get(p.playRender, true) }

// serial are the batch sizes; a template may render to a list of them.
func (p *play) serial() ([]string, error) {
	var sizes []string
	for _, s := range p.def.Serial {
		t, isTemplate := s.Template()
		if !isTemplate {
			sizes = append(sizes, s.Text())
			continue
		}
		v, err := p.playRender(t)
		if err != nil {
			return nil, err
		}
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, e := range list {
			sizes = append(sizes, expr.String(e))
		}
	}
	return sizes, nil
}

// commit ends automatic undo on hosts, for every identity that worked there.
func (p *play) commit(ctx context.Context, hosts []string) {
	p.emit(event.Event{Kind: event.Commit, Hosts: hosts})
	p.note(store.Line{Play: p.index, Passed: hosts})
	p.onEach(hosts, func(h string) {
		for _, w := range p.fleet.held(h) {
			if err := p.commitAs(ctx, w); err != nil {
				p.emit(event.Event{Kind: event.Warning, Host: h, Message: fmt.Sprintf("cannot commit on %s: %v", h, err)})
			}
		}
	})
}

func (p *play) commitAs(ctx context.Context, w way) error {
	c, done, err := p.fleet.again(ctx, w)
	if err != nil {
		return err
	}
	defer done()
	return c.Commit(ctx, p.id, p.fleet.holder)
}

// undo takes back what hosts have done since their batch began (the play, with scope all), and then what others have done in their place.
func (p *play) undo(ctx context.Context, hosts []string) []machine.Output {
	if err := p.right.err(); err != nil {
		p.emit(event.Event{Kind: event.Warning, Message: fmt.Sprintf("%v: nothing is taken back (%s)", err, strings.Join(hosts, ", "))})
		return p.undone(hosts)
	}
	// What was committed before the run was resumed stays, also where a host that comes late is in the same batch.
	back := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return p.passed([]string{h}) })
	if len(back) == 0 {
		return p.undone(hosts)
	}
	p.emit(event.Event{Kind: event.UndoStart, Hosts: back})
	p.note(store.Line{Play: p.index, Undoing: back, InPlace: p.inPlace(back), Since: p.since}) // until it is over a resume has to end it first
	u := undoing{run: p.id, downTo: p.since, of: back, patience: newPatience(ctx), lane: p.lane}
	if p.confirmed > 0 {
		u.back = goesBack(p.confirmed)
		u.back.lost = p.unheard
	}
	back, spared, whole := p.undoAll(context.WithoutCancel(ctx), back, u) // an undo that was begun is ended
	p.mu.Lock()
	p.rolledBack = whole
	p.mu.Unlock()
	p.note(store.Line{Play: p.index, Undone: back, Spared: spared, Since: p.since})
	return p.undone(hosts)
}

// undone tells the machine that the undo of hosts is over.
func (p *play) undone(hosts []string) []machine.Output {
	var outs []machine.Output
	for _, h := range hosts {
		outs = append(outs, p.machine.Step(machine.Undone{Host: h})...)
	}
	return outs
}
