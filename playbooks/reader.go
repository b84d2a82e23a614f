package playbooks

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// reader reads one tree of files for a Loader and collects every mistake in it.
type reader struct {
	*Loader
	problems source.Problems
	open     []string // files and roles being read, for cycles
	brought  Included // what imports brought beside their tasks
	seen     map[string]bool
}

func (l *Loader) newReader() *reader { return &reader{Loader: l, seen: map[string]bool{}} }

// err is everything that was wrong. A file that is read twice (a role used twice) shows each of its mistakes once.
func (r *reader) err() error {
	var once source.Problems
	for _, p := range r.problems {
		key := p.Pos.String() + "\x00" + p.Msg
		if !r.seen[key] {
			r.seen[key] = true
			once = append(once, p)
		}
	}
	return once.Err()
}

// node is a YAML node that knows its file.
type node struct {
	*yaml.Node
	file string
}

func (n node) pos() source.Pos { return source.Pos{File: n.file, Line: n.Line, Col: n.Column} }

func (n node) with(inner *yaml.Node) node {
	for inner.Kind == yaml.AliasNode {
		inner = inner.Alias
	}
	return node{inner, n.file}
}

// empty tells that nothing is written there, or null.
func (n node) empty() bool {
	return n.Node == nil || n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// items are the elements of a sequence.
func (n node) items() []node {
	out := make([]node, len(n.Content))
	for i, c := range n.Content {
		out[i] = n.with(c)
	}
	return out
}

// field is one key of a mapping with its value.
type field struct {
	key string
	at  source.Pos // of the key
	val node
}

// fields are the keys of a mapping in order, merge keys (<<) resolved. Mistakes are reported as being in what ("a task").
func (r *reader) fields(n node, what string) ([]field, bool) {
	if n.Kind != yaml.MappingNode {
		r.problems.Addf(n.pos(), "cannot read %s: it is %s, and a mapping (key: value) is needed", what, n.describe())
		return nil, false
	}
	var out, merged []field
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.with(n.Content[i]), n.with(n.Content[i+1])
		switch {
		case k.ShortTag() == "!!merge":
			merged = append(merged, r.merge(v, what)...)
		case k.Kind != yaml.ScalarNode:
			r.oddKey(k, what)
		default: // of a key that is written twice the last one counts, as under Ansible; reading the file has warned
			out = slices.DeleteFunc(out, func(f field) bool { return f.key == k.Value })
			out = append(out, field{k.Value, k.pos(), v})
		}
	}
	for _, f := range merged {
		if !slices.ContainsFunc(out, func(o field) bool { return o.key == f.key }) {
			out = append(out, f)
		}
	}
	return out, true
}

func (r *reader) merge(v node, what string) []field {
	if v.Kind != yaml.SequenceNode {
		fs, _ := r.fields(v, what)
		return fs
	}
	var out []field
	for _, item := range v.items() {
		fs, _ := r.fields(item, what)
		out = append(out, fs...)
	}
	return out
}

func (r *reader) oddKey(k node, what string) {
	p := r.problems.Addf(k.pos(), "cannot read %s: a key is %s, and a text is needed", what, k.describe())
	if k.Kind == yaml.MappingNode {
		p.WithHint("text that starts with {{ must be quoted: \"{{ name }}\"")
	}
}

// describe says what a node is, for messages.
func (n node) describe() string {
	switch {
	case n.empty():
		return "empty"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	}
	text := n.Value
	if len(text) > 40 {
		text = text[:37] + "..."
	}
	return fmt.Sprintf("%q", text)
}

// list are the items of a list; a value that is no list is a list of one where one is enough, an empty one has none.
func (n node) list() []node {
	switch {
	case n.empty():
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.items()
	}
	return []node{n}
}

// value is what n holds, with its templates checked; not ok when a mistake in it was reported.
func (r *reader) value(n node) (v any, ok bool) {
	if n.Node == nil {
		return nil, true
	}
	v, err := value.FromYAML(n.Node, n.file)
	r.problems.Add(n.pos(), err)
	r.checkTemplates(v)
	return v, err == nil
}

func (r *reader) checkTemplates(v any) {
	switch v := v.(type) {
	case value.Template:
		if r.CheckTemplate != nil {
			r.problems.Add(v.Pos, r.CheckTemplate(v.Text, v.Pos))
		}
	case []any:
		for _, e := range v {
			r.checkTemplates(e)
		}
	case *value.Dict:
		for _, e := range v.All() {
			r.checkTemplates(e)
		}
	}
}

// text is a string that was cut out of a longer one at pos: a template if it has markers.
func (r *reader) text(s string, pos source.Pos) any {
	v := value.FromText(s, pos)
	r.checkTemplates(v)
	return v
}

// setting reads a keyword's value.
func setting[T bool | int | float64 | string](r *reader, f field) Setting[T] {
	return item[T](r, f.key, f.val)
}

func item[T bool | int | float64 | string](r *reader, key string, n node) Setting[T] {
	raw, ok := r.value(n)
	if t, ok := raw.(value.Template); ok {
		return Templated[T](t)
	}
	if raw == nil || !ok {
		return Setting[T]{}
	}
	if _, wantsText := any(*new(T)).(string); wantsText {
		raw = written(n, raw)
	}
	v, err := convert[T](raw)
	if err != nil {
		r.problems.Addf(n.pos(), "cannot use %q: it is %w", key, err)
	}
	return Const(v, n.pos())
}

// written is the text of a number as it stands there (1.10, 0644) instead of its value.
func written(n node, raw any) any {
	switch raw.(type) {
	case int, float64, time.Time:
		return n.Value
	}
	return raw
}

// texts reads a keyword that takes one text or a list of them.
func (r *reader) texts(f field) []Setting[string] {
	var out []Setting[string]
	for _, n := range f.val.list() {
		if s := item[string](r, f.key, n); s.IsSet() {
			out = append(out, s)
		}
	}
	return out
}

// commaTexts is texts where one text may also be written as "a,b"; in a list each is what it is.
func (r *reader) commaTexts(f field) []Setting[string] {
	if f.val.Kind == yaml.SequenceNode {
		return r.texts(f)
	}
	var out []Setting[string]
	for _, s := range r.texts(f) {
		text, ok := s.Constant()
		if !ok {
			out = append(out, s)
			continue
		}
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, Const(part, s.Pos))
			}
		}
	}
	return out
}

// names reads texts that cannot be templates.
func (r *reader) names(f field) []string {
	var out []string
	for _, s := range r.texts(f) {
		if name, ok := s.Constant(); ok {
			out = append(out, name)
		} else {
			r.problems.Addf(s.Pos, "cannot use %q: it is read before there are hosts, and cannot be a template", f.key)
		}
	}
	return out
}

// dict reads a mapping of values.
func (r *reader) dict(f field) *value.Dict {
	v, ok := r.value(f.val)
	d, isDict := v.(*value.Dict)
	if !isDict && ok && v != nil {
		r.problems.Addf(f.val.pos(), "cannot use %q: it is %s, and a mapping (name: value) is needed", f.key, f.val.describe())
	}
	return d
}

// vars reads variables. Ansible's old form, a list of mappings, is one mapping after the other.
func (r *reader) vars(f field) *value.Vars {
	if f.val.empty() {
		return nil
	}
	if f.val.Kind == yaml.SequenceNode {
		var all *value.Vars
		for _, n := range f.val.items() {
			all = overlay(all, r.vars(field{f.key, f.at, n}))
		}
		return all
	}
	vars, err := value.VarsFromYAML(f.val.Node, f.val.file)
	r.problems.Add(f.val.pos(), err)
	for _, name := range vars.Names() {
		if !value.ValidName(name) {
			r.problems.Addf(vars.Pos(name), "cannot use %q as the name of a variable: it needs a letter or underscore first, then letters, digits and underscores", name)
		}
	}
	if vars != nil {
		r.checkTemplates(vars.Dict())
	}
	return vars
}

// conditions reads a bare expression, a boolean, or a list of them; all have to hold.
func (r *reader) conditions(f field) []Condition {
	var out []Condition
	for _, n := range f.val.list() {
		switch {
		case n.empty():
		case n.Kind == yaml.SequenceNode:
			out = append(out, r.conditions(field{f.key, f.at, n})...)
		case n.Kind == yaml.MappingNode:
			r.problems.Addf(n.pos(), "cannot use %q: it is a mapping, and an expression is needed", f.key).WithHint("write an expression without {{ }}, and quote it if it contains \": \"")
		default:
			out = append(out, r.condition(n)...)
		}
	}
	return out
}

func (r *reader) condition(n node) []Condition {
	text := n.Value
	if v, err := value.FromYAML(n.Node, n.file); err != nil {
		r.problems.Add(n.pos(), err)
		return nil
	} else if b, isBool := v.(bool); isBool {
		text, _ = toString(b)
	}
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if r.CheckCondition != nil {
		r.problems.Add(n.pos(), r.CheckCondition(text, n.pos()))
	}
	return []Condition{{text, n.pos()}}
}

// unknown reports a key that is not valid on k. further are names that would be valid besides keywords.
func (r *reader) unknown(f field, k kind, further []string) {
	p := r.problems.Addf(f.at, "cannot use %q in %s: no keyword has this name", f.key, k.one())
	if others, known := keywordKinds[f.key]; known {
		p.Msg = fmt.Sprintf("cannot use %q in %s: it is a keyword of %s", f.key, k.one(), others.list())
		return
	}
	if k&(onTask|onHandler|onBlock) != 0 {
		p.Msg = fmt.Sprintf("cannot use %q in %s: no keyword or module has this name", f.key, k.one())
	}
	switch near := source.Nearest(f.key, append(keywordsOn(k), further...)); {
	case near != "":
		p.WithHint("did you mean %q?", near)
	case f.key == "apply":
		p.WithHint("it is an argument of include_tasks and include_role: indent it below them, beside file or name")
	}
}

func keywordsOn(k kind) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(keywordKinds)) {
		if keywordKinds[name]&k != 0 {
			names = append(names, name)
		}
	}
	return names
}

func (k kind) list() string {
	var names []string
	for _, kn := range kindNames {
		if k&kn.kind != 0 && (kn.kind != onHandler || k&onTask == 0) {
			names = append(names, kn.name)
		}
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// refused reports a keyword of Ansible's that calroll does not carry out.
func (r *reader) refused(f field) bool {
	why, ok := notYet[f.key]
	if ok && !f.val.empty() {
		r.problems.Addf(f.at, "cannot use %q: it is not supported yet", f.key).WithHint("%s", why)
	}
	return ok
}
