package value

import "gopkg.in/yaml.v3"

// Pair is one key of a mapping node and what stands under it, aliases followed.
type Pair struct{ Key, Value *yaml.Node }

// Pairs are a mapping's keys and values for a reader that looks at nodes itself: merge keys (<<) are applied, of a key
// that is given twice the last one counts, and every key is a scalar. Mistakes come as source.Problems beside the
// pairs that are right. A node that is no mapping has no pairs.
func Pairs(node *yaml.Node, file string) ([]Pair, error) {
	d := decoder{file: file, open: map[*yaml.Node]bool{}}
	if node = Deref(node); node.Kind != yaml.MappingNode {
		return nil, nil
	}
	d.open[node] = true
	var out []Pair
	at := map[string]int{}
	for k, v := range d.pairs(node) {
		k = Deref(k)
		if _, ok := d.key(k); !ok {
			continue
		}
		id := tagOf(k) + " " + k.Value
		i, ok := at[id]
		if !ok {
			i = len(out)
			at[id] = i
			out = append(out, Pair{})
		}
		out[i] = Pair{k, Deref(v)}
	}
	return out, d.problems.Err()
}

// Deref is the node that an alias stands for, or node itself.
func Deref(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

// IsNull tells whether node is null or nothing at all, as in "key:" without a value.
func IsNull(node *yaml.Node) bool {
	return node == nil || node.Kind == yaml.ScalarNode && tagOf(node) == "!!null"
}

// Text is the string that node holds; ok is false when it is no string (a number, yes, a list).
func Text(node *yaml.Node) (text string, ok bool) {
	if node = Deref(node); node.Kind != yaml.ScalarNode || tagOf(node) != "!!str" && node.Tag != "!unsafe" {
		return "", false
	}
	return node.Value, true
}
