package runner

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/machine"
)

// include renders what an include task brings in, for one host and item.
func (c *call) include(scope *vars.Scope) (*result, error) {
	rendering := render(scope)
	in := &inclusion{vars: c.loopVars(scope)}
	if c.task.Include.Use == nil {
		file, err := c.task.Include.File.Get(rendering, "")
		if err != nil {
			return nil, err
		}
		in.file = file
		return &result{include: in}, nil
	}
	use, err := c.task.Include.Use.Rendered(rendering)
	if err != nil {
		return nil, err
	}
	in.use = &use
	return &result{include: in}, nil
}

// loopVars are the loop variables of the scope that the included tasks keep.
func (c *call) loopVars(scope *vars.Scope) *value.Dict {
	d := value.NewDict()
	for k, v := range c.extra.All() {
		d.Set(k, v)
	}
	if c.task.Loop == nil {
		return d
	}
	for _, name := range c.loopNames(scope) {
		if v, ok, err := scope.Lookup(name); ok && err == nil {
			d.Set(name, v)
		}
	}
	return d
}

func (c *call) loopNames(scope *vars.Scope) []string {
	names := []string{"ansible_loop_var", "ansible_index_var", "ansible_loop"}
	for _, holder := range names[:2] {
		if v, ok, err := scope.Lookup(holder); ok && err == nil {
			names = append(names, fmt.Sprint(v))
		}
	}
	return names
}

// key is equal for inclusions that bring in the same tasks with the same loop variables.
func (in *inclusion) key() string {
	name := in.file
	if in.use != nil {
		name = fmt.Sprintf("role %s %s %s %s %s", in.use.Name.Text(), in.use.TasksFrom.Text(), in.use.VarsFrom.Text(), in.use.DefaultsFrom.Text(), in.use.HandlersFrom.Text())
	}
	raw, err := json.Marshal(in.vars)
	if err != nil {
		raw = fmt.Append(nil, in.vars)
	}
	return name + "\x00" + string(raw)
}

// name is what the user wrote, for the line that says what was included.
func (in *inclusion) name() string {
	if in.use != nil {
		return in.use.Name.Text()
	}
	return in.file
}

// group is an inclusion and the hosts that want it.
type group struct {
	*inclusion
	hosts []string
}

// groups gathers the inclusions of a task over its hosts, in the order in which they first come up.
func groups(outcomes []outcome) []group {
	var gs []group
	index := map[string]int{}
	for _, o := range outcomes {
		for _, in := range o.inclusions() {
			i, ok := index[in.key()]
			if !ok {
				i = len(gs)
				index[in.key()] = i
				gs = append(gs, group{inclusion: in})
			}
			gs[i].hosts = append(gs[i].hosts, o.host.name)
		}
	}
	return gs
}

func (o outcome) inclusions() []*inclusion {
	if o.result.include != nil {
		return []*inclusion{o.result.include}
	}
	return o.result.includes
}

// bringIn loads what hosts include and hands it to the machine. Hosts whose include cannot be read have failed.
func (p *play) bringIn(task *playbooks.Task, outcomes []outcome) {
	for _, g := range groups(outcomes) {
		nodes, err := p.load(task, g.inclusion)
		if err != nil {
			p.failIncludes(g, outcomes, err)
			continue
		}
		p.showIncluded(g, outcomes)
		p.machine.Step(machine.Included{Hosts: g.hosts, Nodes: nodes})
	}
}

// showIncluded tells of an include and counts it, but for hosts where an earlier process of the run has done so.
func (p *play) showIncluded(g group, outcomes []outcome) {
	var hosts []string
	for _, o := range outcomes {
		if slices.Contains(g.hosts, o.host.name) && !o.recalled {
			hosts = append(hosts, o.host.name)
			if g.use == nil { // Ansible counts no include_role
				p.count(o.host.name, event.OK, false)
			}
		}
	}
	if len(hosts) > 0 {
		p.emit(event.Event{Kind: event.Included, Message: g.name(), Hosts: hosts})
	}
}

func (p *play) load(task *playbooks.Task, in *inclusion) ([]*machine.Node, error) {
	got, err := p.read(task, in)
	if err == nil {
		err = reversible(p.o, p.def, got.Nodes)
	}
	if err != nil {
		return nil, err
	}
	p.addHandlers(got.Handlers, in.vars)
	for _, role := range got.Roles {
		p.world.AddRole(roleVars(role))
	}
	return p.nodes(got.Nodes, in.vars), nil
}

func (p *play) read(task *playbooks.Task, in *inclusion) (*playbooks.Included, error) {
	if in.use == nil {
		return p.loader.LoadTasks(in.file, task.Inherited())
	}
	return p.loader.LoadRole(*in.use, task.Inherited())
}

// addHandlers appends handlers that an include has brought. Those of a role that is there already are the same ones, as under Ansible: a
// host that notified them before the second include and after it runs them once.
func (p *play) addHandlers(handlers []*playbooks.Task, extra *value.Dict) {
	var nodes []*machine.Node
	known := map[string]bool{}
	for _, h := range p.handlers {
		if role := h.task.Role; role != nil {
			known[role.Key] = true
		}
	}
	for _, h := range handlers {
		if h.Role == nil || !known[h.Role.Key] {
			nodes = append(nodes, p.handler(h, extra))
		}
	}
	p.machine.Step(machine.AddHandlers{Handlers: nodes})
}

func (p *play) failIncludes(g group, outcomes []outcome, err error) {
	for i := range outcomes {
		for _, h := range g.hosts {
			if outcomes[i].host.name == h {
				outcomes[i].result = failure(err)
				p.showFailure(h, outcomes[i].result)
			}
		}
	}
}

// showFailure shows a failure that comes after what the task itself came to.
func (p *play) showFailure(host string, r result) {
	p.emit(event.Event{Kind: event.HostDone, Host: host, Status: event.Failed, Result: r.shown(), Hint: r.hint})
	status := event.Failed
	if p.machine.Rescuable(host) {
		status = event.Rescued
	}
	p.count(host, status, false)
}
