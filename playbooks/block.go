package playbooks

import (
	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// nodes reads a list of tasks and blocks; what names it in messages.
func (r *reader) nodes(list node, in Inherited, what string) []Node {
	if list.empty() {
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		r.problems.Addf(list.pos(), "cannot read %s: it is %s, and a list of tasks is needed", what, list.describe()).WithHint("each task starts with \"- \"")
		return nil
	}
	var out []Node
	for _, n := range list.items() {
		out = append(out, r.entry(n, in)...)
	}
	return out
}

// entry reads one task or block; an import brings any number of nodes.
func (r *reader) entry(n node, in Inherited) []Node {
	if n.empty() {
		return nil
	}
	if n.Kind == yaml.ScalarNode {
		r.problems.Addf(n.pos(), "cannot read a task: it is %s, and a mapping (key: value) is needed", n.describe()).WithHint("a module without arguments is written with a colon: \"- setup:\"")
		return nil
	}
	fields, ok := r.fields(n, "a task")
	if !ok {
		return nil
	}
	for _, f := range fields {
		switch f.key {
		case "block":
			return r.block(n, fields, in)
		case "rescue", "always":
			if !hasKey(fields, "block") {
				r.problems.Addf(f.at, "cannot use %q: there is no block beside it", f.key).WithHint("put the tasks it belongs to under block:")
				return nil
			}
		}
	}
	return r.task(n, fields, in)
}

func hasKey(fields []field, key string) bool {
	for _, f := range fields {
		if f.key == key {
			return true
		}
	}
	return false
}

func (r *reader) block(n node, fields []field, in Inherited) []Node {
	if in.handlers {
		r.problems.Addf(n.pos(), "cannot use a block as a handler: a handler is one task").WithHint("give each task a name, or let them listen to the same topic")
		return nil
	}
	var own Keywords
	var name Setting[string]
	var vars *value.Vars
	lists := map[string]node{}
	for _, f := range fields {
		switch f.key {
		case "block", "rescue", "always":
			lists[f.key] = f.val
		case "name":
			name = setting[string](r, f)
		case "vars":
			vars = r.vars(f)
		default:
			if !r.common(&own, f, onBlock) && !r.refused(f) {
				r.unknown(f, onBlock, nil)
			}
		}
	}
	r.gateWithin(own, in)
	b := &Block{Head: in.head(own, vars, n.pos(), name)}
	inside := in.inside(own, vars)
	inside.Block = b
	b.Main = r.nodes(lists["block"], inside, "block")
	b.Rescue = r.nodes(lists["rescue"], inside, "rescue")
	b.Always = r.nodes(lists["always"], inside, "always")
	if !b.Gate.IsSet() {
		r.noGates("rescue", b.Rescue)
		r.noGates("always", b.Always)
	}
	return []Node{b}
}

// handlers reads a list of handlers.
func (r *reader) handlers(list node, in Inherited) []*Task {
	in.handlers = true
	var out []*Task
	for _, n := range r.nodes(list, in, "handlers") {
		out = append(out, n.(*Task)) // blocks were refused
	}
	return out
}

// tasksFile reads a file that is a list of tasks.
func (r *reader) tasksFile(file string, in Inherited) []Node {
	n, ok := r.read(file)
	if !ok {
		return nil
	}
	in.file = file
	if n.Kind == yaml.MappingNode {
		r.problems.Addf(source.Pos{File: file, Line: n.Line, Col: n.Column}, "cannot read the tasks: the file is a mapping, and a list of tasks is needed").WithHint("each task starts with \"- \"")
		return nil
	}
	return r.nodes(n, in, "the tasks")
}
