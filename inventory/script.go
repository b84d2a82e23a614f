package inventory

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// scriptReader reads what an executable inventory prints for --list, and, when that lacks _meta, for --host NAME.
type scriptReader struct {
	*loader
	path string
	file string // what positions in the output are shown under
	meta *yaml.Node
}

func (l *loader) script(path string) {
	r := &scriptReader{loader: l, path: path, file: path + " --list"}
	top := r.run("--list")
	if top == nil {
		return
	}
	before := len(l.inv.hosts)
	seen := map[string]*yaml.Node{}
	for _, pair := range r.pairs(top) {
		if pair.Key.Value == "_meta" {
			r.meta = r.member(pair.Value, "hostvars")
			continue
		}
		r.group(pair.Key, pair.Value, seen)
	}
	hasMeta := r.member(top, "_meta") != nil
	for _, h := range l.inv.hosts[:before] {
		if seen[h.Name] != nil {
			r.hostVars(h, hasMeta)
		}
	}
	for _, h := range l.inv.hosts[before:] {
		r.hostVars(h, hasMeta)
	}
}

// run runs the script and reads its JSON; nil when there is none, which is then a problem.
func (r *scriptReader) run(args ...string) *yaml.Node {
	file := r.path + " " + strings.Join(args, " ")
	pos := source.Pos{File: r.path}
	abs, err := filepath.Abs(r.path)
	if err != nil {
		r.problems.Addf(pos, "cannot run the inventory script: %w", err)
		return nil
	}
	cmd := exec.CommandContext(r.ctx, abs, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		r.problems.Addf(pos, "cannot run %s: %w", file, err).Hint = lastLines(stderr.String(), 5)
		return nil
	}
	source.Remember(file, stdout.Bytes())
	if len(bytes.TrimSpace(stdout.Bytes())) == 0 {
		return &yaml.Node{Kind: yaml.MappingNode}
	}
	docs, err := value.ReadYAML(file, stdout.Bytes())
	r.problems.Add(pos, err)
	if err != nil {
		return nil
	}
	top, err := docs.One()
	r.problems.Add(pos, err)
	if top == nil || top.Kind != yaml.MappingNode {
		r.problems.Addf(source.Pos{File: file, Line: 1, Col: 1}, "cannot use what the script printed: expected a JSON object")
		return nil
	}
	return top
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if text = strings.Join(lines[max(len(lines)-n, 0):], "\n    "); text == "" {
		return ""
	}
	return "it said: " + text
}

func (r *scriptReader) pairs(node *yaml.Node) []value.Pair {
	pairs, err := value.Pairs(node, r.file)
	r.problems.Add(value.At(node, r.file), err)
	return pairs
}

func (r *scriptReader) member(node *yaml.Node, key string) *yaml.Node {
	for _, pair := range r.pairs(node) {
		if pair.Key.Value == key {
			return pair.Value
		}
	}
	return nil
}

// group reads {hosts: [], vars: {}, children: []}, a list of hosts, or, the oldest form, the variables of a host.
func (r *scriptReader) group(key, node *yaml.Node, seen map[string]*yaml.Node) {
	g := r.inv.group(key.Value, value.At(key, r.file))
	if node.Kind == yaml.SequenceNode {
		r.groupHosts(g, node, seen)
		return
	}
	hosts, vars, children := r.member(node, "hosts"), r.member(node, "vars"), r.member(node, "children")
	if hosts == nil && vars == nil && children == nil && len(node.Content) > 0 {
		vars = node
		seen[key.Value] = key
		r.inv.host(key.Value, g, value.At(key, r.file), r.path)
	}
	if hosts != nil {
		r.groupHosts(g, hosts, seen)
	}
	if vars != nil {
		read, err := value.VarsFromYAML(vars, r.file)
		r.problems.Add(value.At(vars, r.file), err)
		for _, name := range read.Names() {
			v, _ := read.Var(name)
			r.problems.Add(read.Pos(name), g.setVar(name, v, read.Pos(name)))
		}
	}
	if children != nil {
		r.groupChildren(g, children)
	}
}

func (r *scriptReader) groupHosts(g *Group, list *yaml.Node, seen map[string]*yaml.Node) {
	if list.Kind != yaml.SequenceNode {
		r.problems.Addf(value.At(list, r.file), "cannot read the hosts of group %q: expected a list, found %s", g.Name, value.KindName(list))
		return
	}
	for _, n := range list.Content {
		name, ok := value.Text(n)
		if !ok {
			r.problems.Addf(value.At(n, r.file), "cannot read the hosts of group %q: a host is a string, found %s", g.Name, value.KindName(n))
			continue
		}
		seen[name] = n
		r.inv.host(name, g, value.At(n, r.file), r.path)
	}
}

func (r *scriptReader) groupChildren(g *Group, list *yaml.Node) {
	for _, n := range list.Content {
		pos := value.At(n, r.file)
		if err := g.adopt(r.inv.group(n.Value, pos)); err != nil {
			r.problems.Add(pos, source.Errorf(pos, "%w", err))
		}
	}
}

func (r *scriptReader) hostVars(h *Host, hasMeta bool) {
	var node *yaml.Node
	file := r.file
	switch {
	case !hasMeta:
		file = r.path + " --host " + h.Name
		node = r.run("--host", h.Name)
	case r.meta != nil:
		node = r.member(r.meta, h.Name)
	}
	if node == nil {
		return
	}
	vars, err := value.VarsFromYAML(node, file)
	r.problems.Add(value.At(node, file), err)
	h.Vars.PutAll(vars)
}
