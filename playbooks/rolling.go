package playbooks

import (
	"slices"
	"strconv"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// The values of gate: when it must hold.
const (
	GateBefore = "before" // the batch: nothing of it has been changed yet
	GateAfter  = "after"  // the batch: its tasks and handlers are done
	GateSoak   = "soak"   // for the play's soak time after that
)

// rolling reads the keywords of a play that say how it goes over its hosts, beyond Ansible's.
func (r *reader) rolling(p *Play, f field) bool {
	switch f.key {
	case "canary":
		p.Canary = r.hosts(f)
	case "spread":
		p.Spread = r.spread(f)
	case "failure_budget":
		p.FailureBudget = r.share(f)
	case "confirm":
		p.Confirm = r.duration(f)
	case "concurrent":
		p.Concurrent = r.concurrent(f)
	case "soak":
		p.SoakTime = r.duration(f)
	default:
		return false
	}
	return true
}

// spread reads a template, or the name of a variable, which is a template of it.
func (r *reader) spread(f field) Setting[string] {
	s := setting[string](r, f)
	name, ok := s.Constant()
	switch {
	case !ok:
		return s
	case !value.ValidName(name):
		r.problems.Addf(s.Pos, "cannot use %q: %s is neither a template nor the name of a variable", f.key, show(name)).
			WithHint("name the variable that says where a host stands: spread: rack, or spread: \"{{ zone }}-{{ rack }}\"")
		return Setting[string]{}
	}
	return Templated[string](value.Template{Text: "{{ " + name + " }}", Pos: s.Pos})
}

// concurrent reads whether a play goes at the same time as the one before it.
func (r *reader) concurrent(f field) Setting[bool] {
	s := setting[bool](r, f)
	if _, ok := s.Constant(); s.IsSet() && !ok {
		r.problems.Addf(s.Pos, "cannot use %q: it is read before there are hosts, and cannot be a template", f.key)
		return Setting[bool]{}
	}
	return s
}

// share is a number of hosts or a percentage of them, unless it is a template.
func (r *reader) share(f field) Setting[string] {
	s := setting[string](r, f)
	text, ok := s.Constant()
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	n, err := strconv.ParseFloat(number, 64)
	switch {
	case !ok:
	case err != nil || n < 0 || !percent && n != float64(int(n)):
		r.problems.Addf(s.Pos, "cannot use %q: %s is neither a number of hosts nor a percentage", f.key, strconv.Quote(text)).WithHint("write 2 or \"5%%\"")
	case percent && n > 100:
		r.problems.Addf(s.Pos, "cannot use %q: %s is more than all hosts", f.key, text)
	}
	return s
}

// gate reads when a task or block must hold.
func (r *reader) gate(f field) Setting[string] {
	s := r.choice(f, GateBefore, GateAfter, GateSoak)
	if _, ok := s.Constant(); s.IsSet() && !ok {
		r.problems.Addf(s.Pos, "cannot use %q: it is read before there are hosts, and cannot be a template", f.key).WithHint("one of before, after, soak; add a condition with when")
		return Setting[string]{}
	}
	return s
}

// gateWithin refuses a gate inside a gate of another kind.
func (r *reader) gateWithin(own Keywords, in Inherited) {
	outer := in.Keywords.Gate
	if own.Gate.IsSet() && outer.IsSet() && own.Gate.Text() != outer.Text() {
		r.problems.Addf(own.Gate.Pos, "cannot use a gate %q inside a gate %q", own.Gate.Text(), outer.Text()).WithHint("put it beside the block at %s", outer.Pos)
	}
}

// noGates refuses gates in a section of a block that does not always run.
func (r *reader) noGates(section string, nodes []Node) {
	for _, n := range nodes {
		if g := n.Common().Gate; g.IsSet() {
			r.problems.Addf(g.Pos, "cannot use a gate in %s: gates are asked once for a batch, whatever its tasks came to", section).WithHint("put it outside of the block")
		}
	}
}

// gates takes the gates out of the play's tasks: they have places of their own.
func (r *reader) gates(p *Play) {
	for _, section := range []*[]Node{&p.PreTasks, &p.Tasks, &p.PostTasks} {
		*section = p.takeGates(*section)
	}
	for _, t := range p.gateTasks() {
		r.checkGate(t)
		t.always()
	}
	switch {
	case len(p.Soak) > 0 && !p.SoakTime.IsSet():
		at := p.Soak[0].Common().Gate.Pos
		r.problems.Addf(at, "cannot use a gate %q: the play does not say for how long it must hold", GateSoak).WithHint("add \"soak: 60s\" to the play at %s", p.Pos)
	case len(p.Soak) == 0 && p.SoakTime.IsSet():
		r.problems.Addf(p.SoakTime.Pos, "cannot use %q: the play has no gate that must hold for this time", "soak").
			WithHint("add \"gate: soak\" to a task; to wait alone, use pause with \"gate: after\"")
	}
}

// takeGates moves gates to the lists of the play and gives the other nodes. A block that held nothing else is left out.
func (p *Play) takeGates(nodes []Node) []Node {
	var others []Node
	for _, n := range nodes {
		switch n.Common().Gate.Text() {
		case GateBefore:
			p.Before = append(p.Before, n)
			continue
		case GateAfter:
			p.After = append(p.After, n)
			continue
		case GateSoak:
			p.Soak = append(p.Soak, n)
			continue
		}
		if b, ok := n.(*Block); ok {
			b.Main = p.takeGates(b.Main)
			if len(b.Main) == 0 && len(b.Rescue)+len(b.Always) == 0 {
				continue
			}
		}
		others = append(others, n)
	}
	return others
}

// gateTasks are the tasks of all gates, rescue and always sections too.
func (p *Play) gateTasks() []*Task {
	var tasks []*Task
	var walk func([]Node)
	walk = func(nodes []Node) {
		for _, n := range nodes {
			switch n := n.(type) {
			case *Task:
				tasks = append(tasks, n)
			case *Block:
				walk(slices.Concat(n.Main, n.Rescue, n.Always))
			}
		}
	}
	walk(slices.Concat(p.Before, p.After, p.Soak))
	return tasks
}

// checkGate refuses what a gate cannot be: it looks, and changes nothing.
func (r *reader) checkGate(t *Task) {
	switch {
	case t.Implicit:
	case t.Module == "meta":
		r.problems.Addf(t.Pos, "cannot use meta in a gate: a gate looks, and changes nothing in how the play goes on")
	case len(t.Notify) > 0:
		r.problems.Addf(t.Notify[0].Pos, "cannot use %q in a gate: a gate looks, and no handler runs after it", "notify")
	case t.Gate.Text() == GateSoak && t.Module == "pause":
		r.problems.Addf(t.Pos, "cannot use pause in a gate %q: it is asked every few seconds", GateSoak).WithHint("delay says how often; a pause is a gate %q", GateAfter)
	}
}

// always has a gate asked whatever --tags chooses; --skip-tags leaves it out, and a gate tagged never has to be asked for.
func (t *Task) always() {
	if slices.ContainsFunc(t.Tags, func(tag Setting[string]) bool { return tag.Text() == "never" }) {
		return
	}
	t.Tags = joinSettings(t.Tags, []Setting[string]{Const("always", t.Gate.Pos)})
}

// lateGates refuses gates in what an include brings: when it comes in, the batch is on its way. What stands in a gate is part of it.
func lateGates(nodes []Node, by *Task) source.Problems {
	var ps source.Problems
	for _, n := range nodes {
		if g := n.Common().Gate; g.IsSet() && by.Gate.Text() != g.Text() {
			ps.Addf(g.Pos, "cannot use a gate in what %s brings: the batch is on its way when it is read", by.Action).
				WithHint("use %s, which is read before the run", strings.Replace(by.Action, "include_", "import_", 1))
		}
		if t, ok := n.(*Task); ok && by.Gate.IsSet() {
			t.always()
		}
		if b, ok := n.(*Block); ok {
			ps = append(ps, lateGates(slices.Concat(b.Main, b.Rescue, b.Always), by)...)
		}
	}
	return ps
}
