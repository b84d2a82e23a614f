package playbooks

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/tasks"
)

// rawParams is the argument that holds text after a module's name.
const rawParams = "_raw_params"

// action is what a task does, as it was written.
type action struct {
	name   string // as written
	module string // canonical
	at     source.Pos
	val    node        // its arguments
	spec   *tasks.Spec // nil for meta, imports and includes
	local  bool        // local_action
	text   *string     // the arguments as text, when val's text begins with the module's name (action: copy src=a)
}

// builtin is a name without the collections that mean Ansible itself.
func builtin(name string) string {
	name = strings.TrimPrefix(name, "ansible.builtin.")
	return strings.TrimPrefix(name, "ansible.legacy.")
}

// structural are the actions that are carried out by the reader and the engine rather than by a module.
var structural = []string{"import_role", "import_tasks", "include_role", "include_tasks", "meta"}

// ansibleModules are the modules of ansible.builtin 2.14, to tell a module that is missing here from a misspelt one.
var ansibleModules = strings.Fields(`add_host apt apt_key apt_repository assemble assert async_status blockinfile command copy cron
	debconf debug dnf dpkg_selections expect fail fetch file find gather_facts get_url getent git group group_by hostname include_vars
	iptables known_hosts lineinfile package package_facts pause ping pip raw reboot replace rpm_key script service service_facts set_fact
	set_stats setup shell slurp stat subversion systemd systemd_service sysvinit tempfile template unarchive uri user
	validate_argument_spec wait_for wait_for_connection yum yum_repository`)

// actions finds the fields that are actions and reports the others: neither keyword nor module.
func (r *reader) actions(fields []field, k kind, collections []string) []field {
	var found []field
	for _, f := range fields {
		if r.isAction(f.key, collections) {
			found = append(found, f)
		} else {
			r.unknown(f, k, r.moduleNames())
		}
	}
	return found
}

// isAction tells whether a key of a task must be meant as its action, known or not.
func (r *reader) isAction(key string, collections []string) bool {
	switch name := builtin(key); {
	case name == "action", name == "local_action", name == "include", name == "import_playbook", slices.Contains(structural, name), slices.Contains(ansibleModules, name):
		return true
	}
	_, _, ok := r.lookup(key, collections)
	return ok || strings.Count(key, ".") >= 2
}

func (r *reader) moduleNames() []string { return append(r.Modules.Names(), structural...) }

// lookup finds a module and its canonical name.
func (r *reader) lookup(name string, collections []string) (spec *tasks.Spec, canonical string, ok bool) {
	names := []string{builtin(name), name}
	if !strings.Contains(name, ".") {
		for _, c := range collections {
			names = append(names, c+"."+name)
		}
	}
	for _, n := range names {
		if spec, ok = r.Modules.Lookup(n); !ok {
			continue
		}
		short := n[strings.LastIndexByte(n, '.')+1:]
		if same, isShort := r.Modules.Lookup(short); isShort && same == spec {
			return spec, short, true
		}
		return spec, n, true
	}
	return nil, "", false
}

// resolve finds a's module, or reports that there is none.
func (r *reader) resolve(a *action, collections []string) bool {
	if name := builtin(a.name); slices.Contains(structural, name) {
		a.module = name
		return true
	}
	var ok bool
	if a.spec, a.module, ok = r.lookup(a.name, collections); ok {
		return true
	}
	p := r.problems.Addf(a.at, "cannot use %q: no module has this name", a.name)
	switch short := builtin(a.name); {
	case short == "include":
		p.Msg = "cannot use \"include\": Ansible has replaced it"
		p.WithHint("use import_tasks (read before the run) or include_tasks (read when its turn comes)")
	case short == "import_playbook":
		p.Msg = "cannot use \"import_playbook\" in a task: it stands where a play stands"
	case slices.Contains(ansibleModules, short):
		p.Msg = "cannot use \"" + a.name + "\": this module of Ansible's is not supported yet"
	default:
		last := a.name[strings.LastIndexByte(a.name, '.')+1:]
		if near := source.Nearest(last, r.moduleNames()); near != "" {
			p.WithHint("did you mean %q?", near)
		}
	}
	return false
}

// act finds the one action of a task. reported tells that some key was reported already, which may have been meant as the action.
func (r *reader) act(d *draft, fields []field, n node, reported bool) bool {
	switch {
	case len(fields) == 0 && reported:
		return false
	case len(fields) == 0:
		r.problems.Addf(n.pos(), "cannot read a task: it has no module").WithHint("a task needs a module, as in \"- copy: {src: a, dest: /b}\"")
		return false
	case len(fields) > 1:
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.key
		}
		r.problems.Addf(fields[1].at, "cannot read a task: it has several modules (%s), and one task calls one", strings.Join(names, ", ")).WithHint("start another task with \"- \"")
		return false
	}
	f := fields[0]
	d.act = &action{name: f.key, at: f.at, val: f.val}
	if f.key == "action" || f.key == "local_action" {
		if !r.spelledOut(d.act, f) {
			return false
		}
	}
	ok := r.resolve(d.act, d.own.Collections)
	d.Action, d.Module, d.Spec = d.act.name, d.act.module, d.act.spec
	return ok
}

// spelledOut reads `action: module args`, and the same as a mapping with a key module.
func (r *reader) spelledOut(a *action, f field) bool {
	a.local = f.key == "local_action"
	if f.val.Kind == yaml.MappingNode {
		fields, _ := r.fields(f.val, f.key)
		for _, m := range fields {
			if m.key == "module" && m.val.Kind == yaml.ScalarNode {
				a.name, a.at = m.val.Value, m.val.pos()
				a.val = without(f.val, "module")
				return true
			}
		}
		r.problems.Addf(f.val.pos(), "cannot read a task: its %s has no key \"module\"", f.key)
		return false
	}
	if f.val.Kind != yaml.ScalarNode || f.val.empty() {
		r.problems.Addf(f.val.pos(), "cannot read a task: its %s is %s, and a module with its arguments is needed", f.key, f.val.describe())
		return false
	}
	name, rest, _ := strings.Cut(strings.TrimSpace(f.val.Value), " ")
	if value.HasMarkers(name) {
		r.problems.Addf(f.val.pos(), "cannot use %q as a module: the name of a module cannot be a template", f.val.Value)
		return false
	}
	a.name, a.at, a.text = name, f.val.pos(), &rest
	return true
}

// without is a mapping without one key.
func without(n node, key string) node {
	rest := *n.Node
	rest.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != key {
			rest.Content = append(rest.Content, n.Content[i], n.Content[i+1])
		}
	}
	return node{&rest, n.file}
}

// arguments reads and checks the arguments of a task.
func (r *reader) arguments(d *draft) {
	ok := r.argsKeyword(d)
	own, fromOwn := r.ownArguments(d)
	d.Args = overlay(d.Args, own)
	if d.Args == nil {
		d.Args = &value.Vars{}
	}
	switch {
	case !ok || !fromOwn:
	case d.Module == "meta":
		r.checkMeta(d)
	case d.Spec != nil:
		r.checkArguments(d)
	}
}

// argsKeyword reads args:, over which the action's own arguments are laid.
func (r *reader) argsKeyword(d *draft) bool {
	if d.args.key == "" || d.args.val.empty() {
		return true
	}
	if d.args.val.Kind == yaml.MappingNode {
		var ok bool
		d.Args, ok = r.argsMapping(d.args.val)
		return ok
	}
	v, ok := r.value(d.args.val)
	if t, isTemplate := v.(value.Template); isTemplate {
		d.ArgsTemplate = &t
		return true
	}
	if ok {
		r.problems.Addf(d.args.val.pos(), "cannot use \"args\": it is %s, and a mapping of arguments is needed", d.args.val.describe())
	}
	return false
}

func (r *reader) argsMapping(n node) (*value.Vars, bool) {
	args, err := value.VarsFromYAML(n.Node, n.file)
	r.problems.Add(n.pos(), err)
	if args != nil {
		r.checkTemplates(args.Dict())
	}
	return args, err == nil
}

// ownArguments reads what stands after the module's name.
func (r *reader) ownArguments(d *draft) (*value.Vars, bool) {
	a := d.act
	if a.text != nil {
		return r.textArguments(d, *a.text, value.HasMarkers(*a.text))
	}
	switch {
	case a.val.empty():
		return nil, true
	case a.val.Kind == yaml.MappingNode:
		return r.argsMapping(a.val)
	}
	v, ok := r.value(a.val)
	switch v := v.(type) {
	case string:
		return r.textArguments(d, v, false)
	case value.Template:
		return r.textArguments(d, v.Text, true)
	}
	if ok {
		r.problems.Addf(a.val.pos(), "cannot use the arguments of %s: they are %s, and a mapping or text is needed", a.name, a.val.describe())
	}
	return nil, false
}

// commands are the modules whose text is a command line: only their own options are taken out of it.
var commands = map[string]bool{"command": true, "shell": true, "script": true, "raw": true}

// textArguments reads "key=value key=value free text". Text under !unsafe is never a template.
func (r *reader) textArguments(d *draft, text string, templates bool) (*value.Vars, bool) {
	a, options := d.act, map[string]bool(nil)
	if commands[a.module] {
		options = commandOptions
	}
	pairs, raw, err := splitArgs(text, options)
	if err != nil {
		r.problems.Addf(a.val.pos(), "cannot read the arguments of %s: %w", a.name, err)
		return nil, false
	}
	made := func(s string) any {
		if !templates {
			return s
		}
		return r.text(s, a.val.pos())
	}
	args := &value.Vars{}
	if raw != "" {
		if t, ok := made(raw).(value.Template); ok && a.spec != nil && a.spec.FreeForm == "" {
			d.ArgsTemplate = &t // the arguments are in a variable
		} else {
			args.Put(rawParams, made(raw), a.val.pos())
		}
	}
	for _, p := range pairs {
		args.Put(p.key, made(p.val), a.val.inText(p.key+"="))
	}
	return args, true
}

// inText is the place of the first occurrence of part in a scalar, as near as can be told.
func (n node) inText(part string) source.Pos {
	pos := n.pos()
	at := strings.Index(n.Value, part)
	if at < 0 || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || strings.Contains(n.Value[:at], "\n") {
		return pos
	}
	pos.Col += len([]rune(n.Value[:at]))
	return pos
}

// checkArguments checks what can be known before anything is rendered.
func (r *reader) checkArguments(d *draft) {
	given, whole := d.Args, d.ArgsTemplate == nil
	switch defaults := d.Defaults.(type) {
	case *value.Dict:
		given = overlay(value.NewVars(defaults, source.Pos{}), d.Args)
	case value.Template:
		whole = false
	}
	args, _ := value.ToGo(given.Dict()).(map[string]any)
	for _, e := range d.Spec.CheckStatic(args, isTemplate) {
		name, _, _ := strings.Cut(e.Arg, ".")
		_, written := d.Args.Var(name)
		switch {
		case written:
			r.argProblem(d.act, e, d.argPos(name, e.Arg))
		case whole && (e.Arg == "" || given == d.Args || strings.Contains(e.Msg, "require")): // else the mistake is in module_defaults
			r.argProblem(d.act, e, source.Pos{})
		}
	}
}

// argPos is the place of an argument, which may stand under the module or under args.
func (d *draft) argPos(name, path string) source.Pos {
	pos := d.Args.Pos(name)
	for _, n := range []node{d.act.val, d.args.val} {
		if n.Node != nil && n.Kind == yaml.MappingNode {
			if _, at, ok := n.step(name); ok && at == pos {
				return n.argPos(path)
			}
		}
	}
	return pos
}

// argProblem reports a mistake in the arguments, at the action when the argument stands nowhere.
func (r *reader) argProblem(a *action, e tasks.ArgError, pos source.Pos) {
	p := &source.Problem{Pos: pos, Hint: e.Hint}
	switch {
	case pos.Known() && e.Arg != rawParams:
		p.Msg = "cannot use \"" + e.Arg + "\" of " + a.name + ": " + e.Msg
	case e.Arg == "" || e.Arg == rawParams:
		p.Pos, p.Msg = a.at, "cannot use "+a.name+": "+e.Msg
	default:
		p.Pos, p.Msg = a.at, "cannot use "+a.name+": "+e.Arg+" "+e.Msg
	}
	r.problems = append(r.problems, p)
}

// metaActions are what meta can do.
var metaActions = []string{"clear_facts", "clear_host_errors", "end_batch", "end_host", "end_play", "flush_handlers", "noop", "reset_connection"}

func (r *reader) checkMeta(d *draft) {
	raw, _ := d.Args.Var(rawParams)
	what, _ := raw.(string)
	if slices.Contains(metaActions, what) && d.Args.Len() == 1 && d.ArgsTemplate == nil {
		return
	}
	if what == "refresh_inventory" {
		r.problems.Addf(d.act.at, "cannot use \"meta: refresh_inventory\": it is not supported yet")
		return
	}
	p := r.problems.Addf(d.act.at, "cannot use meta: it needs one of %s", strings.Join(metaActions, ", "))
	if near := source.Nearest(what, metaActions); what != "" && near != "" {
		p.WithHint("did you mean \"meta: %s\"?", near)
	}
}
