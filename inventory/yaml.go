package inventory

import (
	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// yamlReader reads a YAML inventory: groups at the top, each with hosts, vars and children.
type yamlReader struct {
	*loader
	file string
}

func (l *loader) readYAML(file string, docs value.Docs) {
	r := yamlReader{l, file}
	l.inv.Warnings = append(l.inv.Warnings, docs.Warnings...)
	top, err := docs.One()
	if err != nil {
		l.problems.Add(source.Pos{File: file}, err)
		return
	}
	if value.IsNull(top) {
		return
	}
	if top.Kind != yaml.MappingNode {
		l.problems.Addf(value.At(top, file), "cannot read the inventory: expected a mapping of groups, found %s", value.KindName(top)).
			WithHint("all: {hosts: {web1: {}}} is the smallest one")
		return
	}
	if p := r.plugin(top); p != nil {
		return
	}
	for _, pair := range r.pairs(top) {
		r.group(pair.Key, pair.Value)
	}
}

func (r yamlReader) pairs(node *yaml.Node) []value.Pair {
	pairs, err := value.Pairs(node, r.file)
	r.problems.Add(value.At(node, r.file), err)
	return pairs
}

func (r yamlReader) plugin(top *yaml.Node) *source.Problem {
	for _, pair := range r.pairs(top) {
		if pair.Key.Value == "plugin" && pair.Value.Kind == yaml.ScalarNode {
			return r.problems.Addf(value.At(pair.Key, r.file), "cannot use the inventory plugin %q: inventory plugins are not supported", pair.Value.Value).
				WithHint("an executable script that prints JSON for --list can take its place")
		}
	}
	return nil
}

// group reads one group and gives it, nil when its name is not usable.
func (r yamlReader) group(key, node *yaml.Node) *Group {
	name, ok := value.Text(key)
	if !ok || name == "" {
		r.problems.Addf(value.At(key, r.file), "cannot use %q as the name of a group: it is %s", key.Value, value.KindName(key)).WithHint("quote it")
		return nil
	}
	g := r.inv.group(name, value.At(key, r.file))
	if value.IsNull(node) {
		return g
	}
	if node.Kind != yaml.MappingNode {
		r.problems.Addf(value.At(node, r.file), "cannot read group %q: expected a mapping with hosts, vars or children, found %s", name, value.KindName(node))
		return g
	}
	for _, pair := range r.pairs(node) {
		r.section(g, pair.Key, pair.Value)
	}
	return g
}

func (r yamlReader) section(g *Group, key, node *yaml.Node) {
	switch key.Value {
	case "hosts":
		for _, pair := range r.members(g, key, node) {
			r.host(g, pair.Key, pair.Value)
		}
	case "children":
		for _, pair := range r.members(g, key, node) {
			r.child(g, pair)
		}
	case "vars":
		vars, err := value.VarsFromYAML(node, r.file)
		r.problems.Add(value.At(node, r.file), err)
		for _, name := range vars.Names() {
			v, _ := vars.Var(name)
			r.problems.Add(vars.Pos(name), g.setVar(name, v, vars.Pos(name)))
		}
	default:
		r.problems.Addf(value.At(key, r.file), "cannot use %q in group %q: a group has hosts, vars and children", key.Value, g.Name).
			Hint = r.sectionHint(key.Value, node)
	}
}

func (r yamlReader) sectionHint(key string, node *yaml.Node) string {
	if hint := nearest(key, []string{"hosts", "vars", "children"}); hint != "" {
		return hint
	}
	if node.Kind == yaml.MappingNode {
		return "a group inside a group stands under children:"
	}
	return "a variable of the group stands under vars:"
}

// members are the pairs under hosts or children: a mapping of names, or the name alone.
func (r yamlReader) members(g *Group, key, node *yaml.Node) []value.Pair {
	if text, ok := value.Text(node); ok && text != "" {
		return []value.Pair{{Key: node, Value: &yaml.Node{Kind: yaml.ScalarNode}}}
	}
	if node.Kind != yaml.MappingNode && !value.IsNull(node) {
		r.problems.Addf(value.At(node, r.file), "cannot read the %s of group %q: expected a mapping of names, found %s", key.Value, g.Name, value.KindName(node)).
			WithHint("each name is a key: write \"name:\" in place of \"- name\"")
		return nil
	}
	return r.pairs(node)
}

func (r yamlReader) child(g *Group, pair value.Pair) {
	child := r.group(pair.Key, pair.Value)
	if child == nil {
		return
	}
	if err := g.adopt(child); err != nil {
		r.problems.Add(source.Pos{}, source.Errorf(value.At(pair.Key, r.file), "%w", err))
	}
}

func (r yamlReader) host(g *Group, key, node *yaml.Node) {
	pos := value.At(key, r.file)
	entry, ok := value.Text(key)
	if !ok || entry == "" {
		r.problems.Addf(pos, "cannot use %q as the name of a host: it is %s", key.Value, value.KindName(key)).WithHint("quote it")
		return
	}
	names, port, err := expandHosts(entry)
	if err != nil {
		r.problems.Add(pos, source.Errorf(pos, "%w", err))
		return
	}
	vars, err := value.VarsFromYAML(node, r.file)
	r.problems.Add(pos, err)
	for _, name := range names {
		isNew := r.inv.hostNamed[name] == nil
		h := r.inv.host(name, g, pos, r.file)
		if port != 0 && isNew {
			h.Vars.Put("ansible_port", port, pos)
		}
		h.Vars.PutAll(vars)
	}
}
