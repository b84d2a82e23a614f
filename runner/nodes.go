package runner

import (
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner/machine"
)

// nodes turns a playbook's nodes into the machine's, leaving out what the tags do not choose.
func (p *play) nodes(nodes []playbooks.Node, extra *value.Dict) []*machine.Node {
	var out []*machine.Node
	for _, n := range nodes {
		switch n := n.(type) {
		case *playbooks.Block:
			b := &machine.Node{Kind: machine.Block, Main: p.nodes(n.Main, extra), Rescue: p.nodes(n.Rescue, extra), Always: p.nodes(n.Always, extra)}
			if len(b.Main)+len(b.Rescue)+len(b.Always) > 0 {
				out = append(out, b)
			}
		case *playbooks.Task:
			if p.chosen(n) {
				out = append(out, p.node(n, extra))
			}
		}
	}
	return out
}

// chosen tells whether the tags choose a task.
func (p *play) chosen(t *playbooks.Task) bool {
	if t.Implicit {
		return true
	}
	tags, err := t.TagNames(p.playRender)
	if err != nil {
		tags, _ = t.TagNames(nil) // the templates as they are written match nothing by accident
	}
	return playbooks.MatchTags(tags, p.o.Tags, p.o.SkipTags)
}

// forOne are the modules that the first host runs alone, because they are for the inventory or the user, and not for a host.
var forOne = map[string]bool{"add_host": true, "pause": true}

func (p *play) node(t *playbooks.Task, extra *value.Dict) *machine.Node {
	n := &machine.Node{Name: t.Name.Text(), Ref: &ref{t, extra}, RunOnce: p.constant(t.RunOnce) || forOne[t.Module],
		AnyErrorsFatal: p.constant(t.AnyErrorsFatal), IgnoreErrors: p.constant(t.IgnoreErrors),
		NotLast: t.Module == "pause" && t.Gate.Text() == playbooks.GateAfter}
	if raw, _ := t.Args.Var("_raw_params"); t.Module == "meta" && raw == "flush_handlers" {
		n.Kind = machine.Flush
	}
	return n
}

// constant is a keyword that has to be known before the task meets a host: a template is rendered with the play's variables.
func (p *play) constant(s playbooks.Setting[bool]) bool {
	v, err := s.Get(func(t value.Template) (any, error) { return p.world.Play().Render(t) }, false)
	return err == nil && v
}

// handler makes a node of a handler and remembers it under the machine's index.
func (p *play) handler(t *playbooks.Task, extra *value.Dict) *machine.Node {
	r := &ref{t, extra}
	p.handlers = append(p.handlers, r)
	return &machine.Node{Name: t.Name.Text(), Ref: r, RunOnce: p.constant(t.RunOnce), AnyErrorsFatal: p.constant(t.AnyErrorsFatal)}
}
