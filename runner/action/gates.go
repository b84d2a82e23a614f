package action

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/tasks"
)

// gatesArgs are used in one of three ways. With topics, every host evaluates its own gates and registers those that are closed; with
// report, one host shows what all of them registered, and fails when the run must not go on. With ack alone its ids are checked.
type gatesArgs struct {
	onController
	Topics []string `arg:"topics" doc:"what to evaluate: each topic T is a list of gates in the variable gates_T"`
	Report string   `arg:"report" doc:"the name that every host of the play registered its gates under"`
	Ack    []string `arg:"ack" doc:"ids of gates of level ask that somebody takes responsibility for"`
	Known  []string `arg:"known" doc:"all ids that ack may name"`
}

// Rules are constraints between the arguments.
func (*gatesArgs) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"topics", "report"}}, RequiredOneOf: [][]string{{"topics", "report", "ack"}}}
}

// Levels of a gate that is closed: stop ends the run; ask ends it unless the id is acknowledged; warn and info are only shown.
const (
	gateStop = "stop"
	gateAsk  = "ask"
	gateAck  = "acknowledged" // a gate of level ask whose id is in ack
)

// rules says what a list of rules is about: gates, or checks.
type rules struct {
	name, plural string
	levels       []string // of a rule that is broken
}

var gateRules = rules{"gate", "gates", []string{gateStop, gateAsk, "warn", "info"}}

// gate is one rule as a playbook writes it, still with its templates. One whose scope is the cluster is the same on every host: the first
// host of the play evaluates it for all.
type gate struct {
	id, level, broken, found, remedy any
	cluster                          bool
}

// theCluster stands for the hosts of a finding about the cluster.
const theCluster = "the cluster"

// finding is a closed gate with the hosts that it closes on.
type finding struct {
	id, level, found, remedy string
	hosts                    []string
}

func gates(_ context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &gatesArgs{})
	if err != nil {
		return Answer{}, err
	}
	if err := args.checkAck(); err != nil {
		return Answer{}, err
	}
	switch {
	case args.Report != "":
		return c.reportGates(args)
	case args.Topics != nil:
		return c.evaluate(gateRules, args.Topics)
	}
	return Answer{}, nil
}

// evaluate finds the rules of the topics that are broken on this host. What one has to say is rendered only if it is broken, so it may use
// what only then exists.
func (c *Call) evaluate(kind rules, topics []string) (Answer, error) {
	closed, evaluated := []any{}, 0
	first, err := c.Scope.Condition("inventory_hostname == ansible_play_hosts | first", c.Task.Args.Pos("topics"))
	if err != nil {
		return Answer{}, err
	}
	for _, topic := range topics {
		list, err := c.rulesOf(kind, topic)
		if err != nil {
			return Answer{}, err
		}
		for _, g := range list {
			if g.cluster && !first {
				continue
			}
			f, err := c.evaluateOne(kind, g)
			if err != nil {
				return Answer{}, inRule(kind, g, topic, err)
			}
			if evaluated++; f != nil {
				closed = append(closed, f)
			}
		}
	}
	var r tasks.Result
	r.Set(kind.plural, closed)
	r.Set("evaluated", evaluated)
	return Answer{Result: r}, nil
}

// inRule says which rule could not be evaluated, and keeps where it is written.
func inRule(kind rules, g gate, topic string, err error) error {
	which := fmt.Sprintf("cannot evaluate the %s %s of %s: ", kind.name, expr.String(g.id), topic)
	var p *source.Problem
	if !errors.As(err, &p) {
		return fmt.Errorf("%s%w", which, err)
	}
	told := *p
	told.Msg = which + p.Msg
	return &told
}

// rulesOf is the list of rules of a topic, as it is written.
func (c *Call) rulesOf(kind rules, topic string) ([]gate, error) {
	variable := kind.plural + "_" + topic
	v, ok := c.Scope.Written(variable)
	if !ok {
		return nil, source.Errorf(c.Task.Args.Pos("topics"), "cannot evaluate the %s of %s: there is no variable %s", kind.plural, topic, variable)
	}
	items, ok := v.([]any)
	if !ok {
		return nil, source.Errorf(c.Task.Args.Pos("topics"), "cannot evaluate the %s of %s: %s is no list", kind.plural, topic, variable)
	}
	var list []gate
	for _, item := range items {
		d, ok := item.(*value.Dict)
		if !ok {
			return nil, fmt.Errorf("cannot evaluate the %s of %s: %v is no %s", kind.plural, topic, item, kind.name)
		}
		list = append(list, gate{d.At("id"), d.At("level"), d.At("broken"), d.At("found"), d.At("remedy"), d.At("scope") == "cluster"})
	}
	return list, nil
}

// evaluateOne is what a rule has to say on this host; nil while it is kept.
func (c *Call) evaluateOne(kind rules, g gate) (map[string]any, error) {
	v, err := c.Scope.Render(g.broken)
	if err != nil {
		return nil, err
	}
	switch broken := v.(type) {
	case bool:
		if !broken {
			return nil, nil
		}
	default:
		return nil, fmt.Errorf("broken is %v, and must be true or false", v)
	}
	f := map[string]any{"id": expr.String(g.id), "cluster": g.cluster}
	for name, written := range map[string]any{"level": g.level, "found": g.found, "remedy": g.remedy} {
		v, err := c.Scope.Render(written)
		if err != nil {
			return nil, err
		}
		f[name] = strings.TrimSpace(expr.String(v))
	}
	if !slices.Contains(kind.levels, f["level"].(string)) {
		return nil, fmt.Errorf("the level %v is none of %s", f["level"], strings.Join(kind.levels, ", "))
	}
	return f, nil
}

// reportGates shows the gates that close on any host of the play, and fails when one of them ends the run.
func (c *Call) reportGates(args *gatesArgs) (Answer, error) {
	found, err := c.findings(args.Report, gateRules)
	if err != nil {
		return Answer{}, err
	}
	found = acknowledged(found, args.Ack)
	var r tasks.Result
	var ends []string
	list := make([]any, len(found))
	for i, f := range found {
		list[i] = map[string]any{"id": f.id, "level": f.level, "hosts": f.hosts, "found": f.found, "remedy": f.remedy}
		if f.level == gateStop || f.level == gateAsk {
			ends = append(ends, f.String())
		}
	}
	r.Set("gates", list)
	if len(ends) > 0 {
		r.Failed = true
		r.Msg = "cannot go on: " + strings.Join(ends, " / ")
	}
	return Answer{Result: r, Table: findingTable("GATE", found)}, nil
}

// checkAck refuses an acknowledgement that means nothing: it would be thought to be in force.
func (args *gatesArgs) checkAck() error {
	for _, id := range args.Ack {
		if slices.Contains(args.Known, id) {
			continue
		}
		err := fmt.Errorf("cannot acknowledge %s: there is no gate of this name", id)
		if near := source.Nearest(strings.ToUpper(id), args.Known); near != "" {
			err = fmt.Errorf("%w; the nearest is %s", err, near)
		}
		return err
	}
	return nil
}

// String is the finding on one line: what it is, where, and what to do.
func (f *finding) String() string {
	text := fmt.Sprintf("%s %s on %s: %s. To do: %s", f.id, f.level, strings.Join(f.hosts, ", "), f.found, f.remedy)
	if f.level == gateAsk {
		text += fmt.Sprintf(`; or take responsibility with ack: [%s]`, f.id)
	}
	return text
}

// findings are the rules that the hosts of the play registered as broken, equal ones merged, in the order of the hosts.
func (c *Call) findings(name string, kind rules) ([]*finding, error) {
	among := "ansible_play_hosts_all | map('extract', hostvars) | selectattr('" + name + "', 'defined') | map(attribute='"
	v, err := c.Scope.Evaluate(among+name+"."+kind.plural+"', default=[])", c.Task.Args.Pos("report"))
	if err != nil {
		return nil, err
	}
	hosts, err := c.Scope.Evaluate(among+"inventory_hostname')", c.Task.Args.Pos("report"))
	if err != nil {
		return nil, err
	}
	names, _ := value.ToGo(hosts).([]any)
	var all []*finding
	for i, of := range value.ToGo(v).([]any) {
		list, _ := of.([]any)
		for _, g := range list {
			all = addFinding(all, findingOf(fmt.Sprint(names[i]), g.(map[string]any)))
		}
	}
	return all, nil
}

func findingOf(host string, g map[string]any) *finding {
	f := &finding{id: fmt.Sprint(g["id"]), level: fmt.Sprint(g["level"]), found: fmt.Sprint(g["found"]), remedy: fmt.Sprint(g["remedy"]), hosts: []string{host}}
	if g["cluster"] == true {
		f.hosts[0] = theCluster
	}
	return f
}

func addFinding(all []*finding, f *finding) []*finding {
	for _, o := range all {
		if o.id == f.id && o.level == f.level && o.found == f.found && o.remedy == f.remedy {
			for _, host := range f.hosts {
				if !slices.Contains(o.hosts, host) {
					o.hosts = append(o.hosts, host)
				}
			}
			return all
		}
	}
	return append(all, f)
}

// acknowledged marks what somebody takes responsibility for, and puts the graver levels first.
func acknowledged(all []*finding, ack []string) []*finding {
	for _, f := range all {
		if f.level == gateAsk && slices.Contains(ack, f.id) {
			f.level = gateAck
		}
	}
	slices.SortStableFunc(all, func(a, b *finding) int { return gravity(a.level) - gravity(b.level) })
	return all
}

// gravity orders levels, what ends the run first.
func gravity(level string) int {
	return slices.Index([]string{gateStop, gateAsk, gateAck, "warn", "info"}, level)
}

// shownHosts is how many hosts of one finding the table names; the data has all of them.
const shownHosts = 8

func findingTable(head string, found []*finding) *event.Table {
	if len(found) == 0 {
		return nil
	}
	t := &event.Table{Head: []string{head, "LEVEL", "HOSTS", "FOUND", "TO DO"}}
	for _, f := range found {
		hosts := f.hosts
		if more := len(hosts) - shownHosts; more > 0 {
			hosts = append(slices.Clone(hosts[:shownHosts]), fmt.Sprintf("and %d more", more))
		}
		t.Rows = append(t.Rows, []string{f.id, f.level, strings.Join(hosts, ", "), f.found, f.remedy})
	}
	return t
}
