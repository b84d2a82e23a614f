package value

import (
	"math"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
)

// Vault is a value that Ansible Vault encrypted in place (!vault). It cannot be used until it has been decrypted.
type Vault struct {
	Text string // the $ANSIBLE_VAULT envelope
	Pos  source.Pos
}

// Err says that the value cannot be used.
func (v Vault) Err() error {
	return source.Errorf(v.Pos, "cannot use a value that is encrypted with Ansible Vault: it has not been decrypted")
}

// HasMarkers tells whether text holds Jinja2 markers, that is, whether it has to be rendered.
func HasMarkers(text string) bool {
	return strings.Contains(text, "{{") || strings.Contains(text, "{%") || strings.Contains(text, "{#")
}

// FromText is text that somebody wrote at pos: a Template when it has markers, else the string.
func FromText(text string, pos source.Pos) any {
	if HasMarkers(text) {
		return Template{Text: text, Pos: pos}
	}
	return text
}

// FromYAML turns a node into a value. Strings with Jinja2 markers become Templates, except under !unsafe and as
// mapping keys; aliases share one value; merge keys are applied. All mistakes come as source.Problems.
func FromYAML(node *yaml.Node, file string) (any, error) {
	d := decoder{file: file, done: map[*yaml.Node]any{}, open: map[*yaml.Node]bool{}}
	v := d.value(node, false)
	return v, d.problems.Err()
}

type decoder struct {
	file     string
	done     map[*yaml.Node]any  // values of anchored nodes
	open     map[*yaml.Node]bool // anchored collections being read, to find one that holds itself
	problems source.Problems
}

func (d *decoder) problem(node *yaml.Node, format string, args ...any) *source.Problem {
	return d.problems.Addf(At(node, d.file), format, args...)
}

// value reads node; unsafe says that strings in it are never templates.
func (d *decoder) value(node *yaml.Node, unsafe bool) any {
	if node.Kind == yaml.AliasNode {
		return d.alias(node, unsafe)
	}
	if node.Kind == yaml.DocumentNode {
		return d.value(node.Content[0], unsafe)
	}
	if node.Anchor == "" {
		return d.fresh(node, unsafe)
	}
	d.open[node] = true
	defer delete(d.open, node)
	v := d.fresh(node, unsafe)
	if !unsafe {
		d.done[node] = v
	}
	return v
}

func (d *decoder) alias(node *yaml.Node, unsafe bool) any {
	if d.open[node.Alias] {
		_ = d.problem(node, "cannot use *%s here: it stands inside the value it names", node.Value)
		return nil
	}
	if v, ok := d.done[node.Alias]; ok && !unsafe {
		return v
	}
	return d.value(node.Alias, unsafe)
}

func (d *decoder) fresh(node *yaml.Node, unsafe bool) any {
	unsafe = unsafe || node.Tag == "!unsafe"
	switch node.Kind {
	case yaml.SequenceNode:
		d.collectionTag(node, "!!seq")
		list := make([]any, 0, len(node.Content))
		for _, child := range node.Content {
			list = append(list, d.value(child, unsafe))
		}
		return list
	case yaml.MappingNode:
		d.collectionTag(node, "!!map")
		return d.mapping(node, unsafe)
	}
	return d.scalar(node, unsafe)
}

func (d *decoder) collectionTag(node *yaml.Node, want string) {
	if node.Style&yaml.TaggedStyle != 0 && node.Tag != want && node.Tag != "!unsafe" {
		_ = d.problem(node, "cannot read the value: the tag %s is not known here", node.Tag)
	}
}

func (d *decoder) scalar(node *yaml.Node, unsafe bool) any {
	tag := tagOf(node)
	switch tag {
	case "!unsafe":
		return node.Value
	case "!vault", "!vault-encrypted":
		return Vault{Text: node.Value, Pos: At(node, d.file)}
	}
	v, err := scalar(tag, node.Value)
	if err != nil {
		_ = d.problem(node, "cannot read the value %q: %v", node.Value, err)
		return nil
	}
	if text, ok := v.(string); ok && !unsafe {
		return FromText(text, At(node, d.file))
	}
	return v
}

func (d *decoder) mapping(node *yaml.Node, unsafe bool) *Dict {
	out := &Dict{}
	for key, val := range d.pairs(node) {
		if k, ok := d.key(key); ok {
			out.Set(k, d.value(val, unsafe))
		}
	}
	return out
}

// pairs goes through a mapping's keys and values, merged ones (<<) first so that the mapping's own win.
func (d *decoder) pairs(node *yaml.Node) func(yield func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		for _, own := range []bool{false, true} {
			for i := 0; i+1 < len(node.Content); i += 2 {
				k, v := node.Content[i], node.Content[i+1]
				switch merge := isMerge(k); {
				case own && !merge:
					if !yield(k, v) {
						return
					}
				case !own && merge:
					if !d.merged(v, yield) {
						return
					}
				}
			}
		}
	}
}

// merged goes through the pairs that << brings in; of a list the first mapping wins, so it comes last.
func (d *decoder) merged(v *yaml.Node, yield func(k, v *yaml.Node) bool) bool {
	at := v
	if v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	if d.open[v] {
		_ = d.problem(at, "cannot merge *%s here: it is the mapping that is being written", v.Anchor)
		return true
	}
	d.open[v] = true
	defer delete(d.open, v)
	switch v.Kind {
	case yaml.MappingNode:
		for key, val := range d.pairs(v) {
			if !yield(key, val) {
				return false
			}
		}
		return true
	case yaml.SequenceNode:
		for i := len(v.Content) - 1; i >= 0; i-- {
			if !d.merged(v.Content[i], yield) {
				return false
			}
		}
		return true
	}
	_ = d.problem(at, "cannot merge this value: << takes a mapping or a list of mappings")
	return true
}

// key is a mapping's key; only scalars can be one.
func (d *decoder) key(node *yaml.Node) (any, bool) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.ScalarNode {
		p := d.problem(node, "cannot use a list or mapping as a key")
		if node.Kind == yaml.MappingNode && node.Style&yaml.FlowStyle != 0 {
			p.Hint = "a value that begins with {{ must be quoted: \"{{ ... }}\""
		}
		return nil, false
	}
	if tagOf(node) == "!!value" {
		return node.Value, true // a plain = is only special as a value
	}
	switch k := d.scalar(node, true).(type) {
	case float64:
		if math.IsNaN(k) {
			_ = d.problem(node, "cannot use %s as a key: it equals nothing, not even itself", node.Value)
		}
		return k, !math.IsNaN(k)
	case Vault:
		_ = d.problem(node, "cannot use an encrypted value as a key")
		return nil, false
	case time.Time:
		return TimeString(k), true // a Dict's keys are plain scalars
	default:
		return k, true
	}
}
