package playbooks

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// common reads a keyword that plays, roles, blocks and tasks share; false when f is none of them or not valid on k.
func (r *reader) common(own *Keywords, f field, k kind) bool {
	if keywordKinds[f.key]&k == 0 {
		return false
	}
	return r.become(own, f) || r.connecting(own, f) || r.behaviour(own, f) || r.extended(own, f)
}

func (r *reader) become(own *Keywords, f field) bool {
	switch f.key {
	case "become":
		own.Become = setting[bool](r, f)
	case "become_user":
		own.BecomeUser = setting[string](r, f)
	case "become_method":
		own.BecomeMethod = setting[string](r, f)
	case "become_flags":
		own.BecomeFlags = setting[string](r, f)
	case "become_exe":
		own.BecomeExe = setting[string](r, f)
	default:
		return false
	}
	return true
}

func (r *reader) connecting(own *Keywords, f field) bool {
	switch f.key {
	case "connection":
		own.Connection = setting[string](r, f)
	case "remote_user":
		own.RemoteUser = setting[string](r, f)
	case "port":
		own.Port = setting[int](r, f)
	case "delegate_to":
		own.DelegateTo = setting[string](r, f)
	case "delegate_facts":
		own.DelegateFacts = setting[bool](r, f)
	default:
		return false
	}
	return true
}

func (r *reader) behaviour(own *Keywords, f field) bool {
	switch f.key {
	case "any_errors_fatal":
		own.AnyErrorsFatal = setting[bool](r, f)
	case "ignore_errors":
		own.IgnoreErrors = setting[bool](r, f)
	case "ignore_unreachable":
		own.IgnoreUnreachable = setting[bool](r, f)
	case "check_mode":
		own.CheckMode = setting[bool](r, f)
	case "diff":
		own.Diff = setting[bool](r, f)
	case "no_log":
		own.NoLog = setting[bool](r, f)
	case "gate":
		own.Gate = r.gate(f)
	case "run_once":
		own.RunOnce = setting[bool](r, f)
	case "throttle":
		own.Throttle = r.atLeast(f, 0)
	case "timeout":
		own.Timeout = r.atLeast(f, 0)
	default:
		return false
	}
	return true
}

// extended reads the keywords that add to those around them.
func (r *reader) extended(own *Keywords, f field) bool {
	switch f.key {
	case "collections":
		own.Collections = r.names(f)
	case "environment":
		own.Environment = r.environment(f)
	case "module_defaults":
		own.ModuleDefaults = r.moduleDefaults(f)
	case "when":
		own.When = r.conditions(f)
	case "tags":
		own.Tags = r.commaTexts(f)
	case "notify":
		own.Notify = r.texts(f)
	default:
		return false
	}
	return true
}

// atLeast is a whole number with a least value.
func (r *reader) atLeast(f field, least int) Setting[int] {
	s := setting[int](r, f)
	if v, ok := s.Constant(); ok && v < least {
		r.problems.Addf(s.Pos, "cannot use %q: %d is less than %d", f.key, v, least)
	}
	return s
}

// environment reads a mapping, a template that renders to one, or a list of these.
func (r *reader) environment(f field) []any {
	var out []any
	for _, n := range f.val.list() {
		switch v, ok := r.value(n); v := v.(type) {
		case *value.Dict, value.Template:
			out = append(out, v)
		case nil:
		default:
			if ok {
				r.problems.Addf(n.pos(), "cannot use %q: it is %s, and a mapping (NAME: value) is needed", f.key, n.describe())
			}
		}
	}
	return out
}

// moduleDefaults reads a mapping from modules to arguments, or a list of such mappings.
func (r *reader) moduleDefaults(f field) []*ModuleDefaults {
	var out []*ModuleDefaults
	for _, n := range f.val.list() {
		fields, _ := r.fields(n, "module_defaults")
		for _, m := range fields {
			if d := r.oneModuleDefaults(m); d != nil {
				out = append(out, d)
			}
		}
	}
	return out
}

func (r *reader) oneModuleDefaults(m field) *ModuleDefaults {
	if strings.HasPrefix(m.key, "group/") {
		r.problems.Addf(m.at, "cannot use %q in module_defaults: groups of modules are not supported yet", m.key).WithHint("name each module")
		return nil
	}
	a := &action{name: m.key, at: m.at}
	if !r.resolve(a, nil) {
		return nil
	}
	args, ok := r.value(m.val)
	switch args := args.(type) {
	case *value.Dict:
		if a.spec != nil {
			r.checkDefaults(a, args, m.val)
		}
	case value.Template:
	default:
		if ok && args != nil {
			r.problems.Addf(m.val.pos(), "cannot use the defaults of %s: they are %s, and a mapping is needed", m.key, m.val.describe())
		}
		return nil
	}
	return &ModuleDefaults{Module: a.module, Args: args, Pos: m.at}
}

// checkDefaults checks each argument alone: what is required or excluded together is for the task to say.
func (r *reader) checkDefaults(a *action, args *value.Dict, n node) {
	for key, v := range args.All() {
		name := value.KeyString(key)
		for _, e := range a.spec.CheckStatic(map[string]any{name: value.ToGo(v)}, isTemplate) {
			if e.Arg == name && e.Msg != "is required" {
				r.argProblem(a, e, n.argPos(e.Arg))
			}
		}
	}
}

// argPos is the place of the argument with this dotted path inside a mapping: its key's, or the element's of a list.
func (n node) argPos(path string) source.Pos {
	pos := n.pos()
	for part := range strings.SplitSeq(path, ".") {
		next, at, ok := n.step(part)
		if !ok {
			break
		}
		n, pos = next, at
	}
	return pos
}

func (n node) step(part string) (next node, at source.Pos, ok bool) {
	switch n.Kind {
	case yaml.MappingNode:
		i := slices.IndexFunc(n.Content, func(c *yaml.Node) bool { return c.Kind == yaml.ScalarNode && c.Value == part })
		if i >= 0 && i%2 == 0 {
			return n.with(n.Content[i+1]), n.with(n.Content[i]).pos(), true
		}
	case yaml.SequenceNode:
		for i, item := range n.items() {
			if part == value.KeyString(i) {
				return item, item.pos(), true
			}
		}
	}
	return n, source.Pos{}, false
}

func isTemplate(v any) bool {
	switch v.(type) {
	case value.Template, value.Vault:
		return true
	}
	return false
}
