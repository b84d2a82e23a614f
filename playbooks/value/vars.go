package value

import (
	"regexp"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
)

// Vars are variables as somebody wrote them: values by name, and where each name stands. The zero value and nil are
// empty; a nil Vars cannot be set. Not safe for concurrent writes.
type Vars struct {
	values Dict
	places map[string]source.Pos
}

// NewVars makes variables from a mapping of names that all stand at pos.
func NewVars(d *Dict, pos source.Pos) *Vars {
	out := &Vars{}
	for k, v := range d.All() {
		out.Put(KeyString(k), v, pos)
	}
	return out
}

// Var is the value of a variable and whether there is one.
func (v *Vars) Var(name string) (any, bool) {
	if v == nil {
		return nil, false
	}
	return v.values.Get(name)
}

// Put gives a variable a value, written at pos.
func (v *Vars) Put(name string, val any, pos source.Pos) {
	v.values.Set(name, val)
	if v.places == nil {
		v.places = map[string]source.Pos{}
	}
	v.places[name] = pos
}

// PutAll gives every variable of from its value there.
func (v *Vars) PutAll(from *Vars) {
	for _, name := range from.Names() {
		val, _ := from.Var(name)
		v.Put(name, val, from.Pos(name))
	}
}

// Dict is the variables as a mapping; it must not be changed. It is nil when there are none.
func (v *Vars) Dict() *Dict {
	if v == nil {
		return nil
	}
	return &v.values
}

// Len is the number of variables.
func (v *Vars) Len() int { return v.Dict().Len() }

// Pos is where a variable was written, the zero Pos when that is not known.
func (v *Vars) Pos(name string) source.Pos {
	if v == nil {
		return source.Pos{}
	}
	return v.places[name]
}

// Names are the variables' names in the order they were written.
func (v *Vars) Names() []string {
	if v == nil {
		return nil
	}
	names := make([]string, 0, v.values.Len())
	for k := range v.values.All() {
		names = append(names, k.(string)) // Put and VarsFromYAML take strings alone
	}
	return names
}

// VarsFromYAML reads a mapping of variables; a nil or null node has none. Names that no expression could use are
// taken, as Ansible takes them, but must be strings.
func VarsFromYAML(node *yaml.Node, file string) (*Vars, error) {
	out := &Vars{}
	if IsNull(node) {
		return out, nil
	}
	at := node
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	d := decoder{file: file, done: map[*yaml.Node]any{}, open: map[*yaml.Node]bool{}}
	if node.Kind != yaml.MappingNode {
		_ = d.problem(at, "cannot read variables: expected a mapping of names to values, found %s", KindName(node))
		return out, d.problems.Err()
	}
	d.open[node] = true
	for key, val := range d.pairs(node) {
		k, ok := d.key(key)
		name, isText := k.(string)
		switch {
		case !ok:
		case !isText:
			d.problem(key, "cannot use %s as the name of a variable: it is not a string", key.Value).
				WithHint("quote it if that is really its name")
		default:
			out.Put(name, d.value(val, false), At(key, file))
		}
	}
	return out, d.problems.Err()
}

// ReadVars reads a file of variables (group_vars, vars_files, --extra-vars @file): one mapping, or nothing at all.
func ReadVars(file string, text []byte) (vars *Vars, warnings source.Problems, err error) {
	docs, err := ReadYAML(file, text)
	if err != nil {
		return nil, nil, err
	}
	node, err := docs.One()
	if err != nil {
		return nil, docs.Warnings, err
	}
	vars, err = VarsFromYAML(node, file)
	return vars, docs.Warnings, err
}

// KindName says in words what a node is.
func KindName(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return KindName(node.Alias)
	case yaml.DocumentNode:
		return KindName(node.Content[0])
	}
	switch tagOf(node) {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "a boolean"
	case "!!int", "!!float":
		return "a number"
	case "!!str":
		return "a string"
	case "!!timestamp":
		return "a timestamp"
	}
	return "a scalar"
}

var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ValidName tells whether an expression can name a variable so.
func ValidName(s string) bool { return name.MatchString(s) }
