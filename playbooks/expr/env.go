package expr

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// Vars gives variables their values. Lookup is called only for names that a rendering really uses, at most once each.
// value must be final data: text in it is never taken for a template. err means that the variable exists but its own
// template fails; when an *Undefined is the cause, the variable counts as undefined until it is used.
type Vars interface {
	Lookup(name string) (value any, ok bool, err error)
}

// Origin says where the value of a variable comes from.
type Origin int

// The origins. Ansible shows the difference in two places: "{{ x }}" alone keeps a number a number unless x is a
// Template, and a condition with {{ x }} in it is refused when x is Unsafe.
const (
	Literal  Origin = iota // written in a file as it is
	Template               // made by a template
	Unsafe                 // came from a module or a lookup at run time
)

// Origins may be implemented by a Vars; without it every variable is Literal.
type Origins interface{ Origin(name string) Origin }

// Lister may be implemented by a Vars: the names of all variables, for the varnames lookup.
type Lister interface{ Names() []string }

// MapVars is a Vars over a plain map.
type MapVars map[string]any

// Lookup gives the value under name.
func (m MapVars) Lookup(name string) (any, bool, error) {
	v, ok := m[name]
	return v, ok, nil
}

// Names are the names of all variables, sorted.
func (m MapVars) Names() []string { return sortedKeys(m) }

// Options are what templates may reach outside their variables. Every field may be empty.
type Options struct {
	BaseDir    string                                 // the playbook's directory: where relative paths of lookups end up last
	SearchPath []string                               // directories searched before BaseDir; the variable ansible_search_path comes before both
	Hosts      func(pattern string) ([]string, error) // for the inventory_hostnames lookup
	ReadFile   func(path string) ([]byte, error)      // os.ReadFile, perhaps with decryption of vault files
	Environ    func(name string) (string, bool)       // os.LookupEnv
	Now        func() time.Time                       // time.Now
}

// Env evaluates templates. It keeps what it has parsed, by text, and may be used by many at a time.
type Env struct {
	opts       Options
	reg        *registry
	tasks      sync.Map // text -> *parsed, in taskSyntax
	conditions sync.Map // text -> *parsed
	files      sync.Map // fileKey -> *parsed, in any other syntax
}

type fileKey struct {
	text string
	syn  syntax
}

type parsed struct {
	tpl    *template
	cond   expr
	single string // the name x when the text is "{{ x }}"
	err    *syntaxError
}

// New is an Env with every filter, test and lookup of this package.
func New(o Options) *Env {
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Environ == nil {
		o.Environ = os.LookupEnv
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Env{opts: o, reg: builtins()}
}

// taskSyntax is the language in task arguments, conditions and variables.
var taskSyntax = syntax{
	blockStart: "{%", blockEnd: "%}", varStart: "{{", varEnd: "}}", commentStart: "{#", commentEnd: "#}",
	trimBlocks: true, newline: "\n", keepBackslashes: true,
}

// IsTemplate tells whether text has a marker, so that Template would look at it.
func IsTemplate(text string) bool {
	for s := text; ; {
		i := strings.IndexByte(s, '{')
		if i < 0 || i+1 >= len(s) {
			return false
		}
		if c := s[i+1]; c == '{' || c == '%' || c == '#' {
			return true
		}
		s = s[i+1:]
	}
}

// parseTask reads a template in the syntax of task arguments, unless its first line asks for another.
func (e *Env) parseTask(text string) (*parsed, string, error) {
	if p, ok := e.tasks.Load(text); ok {
		return p.(*parsed), text, nil
	}
	syn, body, err := overrides(text, taskSyntax)
	if err != nil {
		return nil, "", fmt.Errorf("cannot read template %s: %w", shorten(text), err)
	}
	if len(body) < len(text) {
		return e.parse(body, syn), body, nil
	}
	p := &parsed{single: singleName(text, &syn)}
	if strings.Contains(text, `\`) && strings.Contains(text, "{{") {
		body = strings.TrimSuffix(body, "\n") // Ansible doubles the backslashes, and this gets lost on the way
	}
	p.tpl, p.err = parse(body, &taskSyntax, e.reg)
	e.tasks.Store(text, p)
	return p, text, nil
}

func (e *Env) parse(text string, syn syntax) *parsed {
	key := fileKey{text, syn}
	if p, ok := e.files.Load(key); ok {
		return p.(*parsed)
	}
	p := &parsed{}
	p.tpl, p.err = parse(text, &syn, e.reg)
	e.files.Store(key, p)
	return p
}

func (e *Env) parseCondition(text string) *parsed {
	if p, ok := e.conditions.Load(text); ok {
		return p.(*parsed)
	}
	p := &parsed{}
	p.tpl, p.cond, p.err = parseCondition(text, e.reg)
	e.conditions.Store(text, p)
	return p
}

// singleName is x when text is "{{ x }}" and nothing else but a line end.
func singleName(text string, syn *syntax) string {
	text, okStart := strings.CutPrefix(strings.TrimSuffix(text, "\n"), syn.varStart)
	text, okEnd := strings.CutSuffix(text, syn.varEnd)
	if text = strings.TrimSpace(text); okStart && okEnd && isIdentifier(text) {
		return text
	}
	return ""
}

// Template evaluates text as Ansible does a task argument. Text without a marker is given back as it is. "{{ x }}"
// alone keeps x's type; anything else gives text, which becomes a list, a mapping or a bool when it reads as one.
func (e *Env) Template(text string, pos source.Pos, vars Vars) (any, error) {
	if !IsTemplate(text) {
		return text, nil
	}
	p, body, err := e.parseTask(text)
	if err != nil {
		return nil, &source.Problem{Pos: pos, Msg: err.Error(), Err: err}
	}
	if err := p.problem(text, pos, 0); err != nil {
		return nil, err
	}
	r := e.render(p.tpl, vars)
	r.convert = true
	out, err := r.template(p, body)
	if err != nil {
		return nil, r.problem("template", text, pos, err)
	}
	return out, nil
}

// TemplateDeep is Template for every text in v, which may be a list or a mapping, so it is for what somebody wrote and
// never for what a host answered: see Resolve. A value.Template knows its place; pos is for the rest. Keys are left as
// they are. Omit stays in the result: see DropOmit.
func (e *Env) TemplateDeep(v any, pos source.Pos, vars Vars) (any, error) {
	return e.walk(v, func(text string) (any, error) { return e.Template(text, pos, vars) }, vars)
}

// Resolve renders every value.Template in v and leaves all other text as it is.
func (e *Env) Resolve(v any, vars Vars) (any, error) {
	return e.walk(v, func(text string) (any, error) { return text, nil }, vars)
}

// walk rebuilds v with its text replaced.
func (e *Env) walk(v any, text func(string) (any, error), vars Vars) (any, error) {
	switch v := v.(type) {
	case string:
		return text(v)
	case value.Template:
		return e.Template(v.Text, v.Pos, vars)
	case value.Vault:
		return nil, v.Err()
	}
	switch v := norm(v).(type) {
	case []any:
		return e.walkList(v, text, vars)
	case *Dict:
		return e.walkDict(v, text, vars)
	case Tuple:
		return e.walkList(v, text, vars)
	default:
		return v, nil
	}
}

func (e *Env) walkList(items []any, text func(string) (any, error), vars Vars) (any, error) {
	out := make([]any, len(items))
	for i, item := range items {
		v, err := e.walk(item, text, vars)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (e *Env) walkDict(d *Dict, text func(string) (any, error), vars Vars) (any, error) {
	out := &Dict{}
	for k, item := range d.All() {
		v, err := e.walk(item, text, vars)
		if err != nil {
			return nil, err
		}
		out.Set(k, v)
	}
	return out, nil
}

// Check reports what is wrong with text before it is ever used: syntax, and filters, tests and lookups that do not exist.
// All of it at once, as source.Problems.
func (e *Env) Check(text string, pos source.Pos) error {
	if !IsTemplate(text) {
		return nil
	}
	p, _, err := e.parseTask(text)
	if err != nil {
		return &source.Problem{Pos: pos, Msg: err.Error(), Err: err}
	}
	return p.problem(text, pos, 0)
}

// CheckCondition is Check for a bare condition.
func (e *Env) CheckCondition(text string, pos source.Pos) error {
	if IsTemplate(text) {
		return e.Check(text, pos)
	}
	return e.parseCondition(text).problem(text, pos, 0)
}

// problem is what parsing found, or nil.
func (p *parsed) problem(text string, pos source.Pos, skipped int) error {
	if p.err == nil && len(p.tpl.unknown) == 0 {
		return nil
	}
	all := p.tpl.unknown
	if p.err != nil {
		all = append(slices.Clone(all), p.err)
	}
	var ps source.Problems
	for _, err := range all {
		at := place(p.tpl.text, err.at, pos, skipped)
		ps = append(ps, &source.Problem{Pos: at.pos, Line: at.line, Msg: fmt.Sprintf("cannot read template %s: %s", shorten(text), err.msg), Hint: err.hint})
	}
	return ps.Err()
}

// shorten is text as a message shows it: its first line, not too long.
func shorten(text string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) > 80 {
		line = strings.ToValidUTF8(line[:80], "") + "..."
	} else if rest != "" {
		line += " ..."
	}
	return fmt.Sprintf("%q", line)
}

// overrides reads a first line "#jinja2: trim_blocks: False, ..." that changes the language for one text.
func overrides(text string, syn syntax) (syntax, string, error) {
	rest, ok := strings.CutPrefix(text, "#jinja2:")
	if !ok {
		return syn, text, nil
	}
	line, body, _ := strings.Cut(rest, "\n")
	for _, pair := range strings.Split(line, ",") {
		name, val, ok := strings.Cut(pair, ":")
		if !ok {
			return syn, body, fmt.Errorf("%q in its first line is not \"name: value\"", strings.TrimSpace(pair))
		}
		v, err := literalEval(strings.TrimSpace(val))
		if err == nil {
			err = syn.set(strings.TrimSpace(name), v)
		}
		if err != nil {
			return syn, body, err
		}
	}
	return syn, body, nil
}

func (s *syntax) set(name string, v any) error {
	flags := map[string]*bool{"trim_blocks": &s.trimBlocks, "lstrip_blocks": &s.lstripBlocks, "keep_trailing_newline": &s.keepTrailingNewline}
	texts := map[string]*string{
		"variable_start_string": &s.varStart, "variable_end_string": &s.varEnd, "block_start_string": &s.blockStart,
		"block_end_string": &s.blockEnd, "comment_start_string": &s.commentStart, "comment_end_string": &s.commentEnd,
		"newline_sequence": &s.newline,
	}
	if b, ok := flags[name]; ok {
		*b = truthy(v)
		return nil
	}
	t, ok := texts[name]
	if !ok {
		return fmt.Errorf("%q is not a setting of templates", name)
	}
	if *t, ok = v.(string); !ok || *t == "" {
		return errors.New(name + " must be a string")
	}
	return nil
}
