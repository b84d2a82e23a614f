package playbooks

import (
	"errors"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// includeKeywords are the keywords that Ansible takes on include_tasks and include_role; others go into apply or a block around it.
var includeKeywords = map[string]bool{"action": true, "args": true, "collections": true, "debugger": true, "ignore_errors": true,
	"loop": true, "loop_control": true, "name": true, "no_log": true, "register": true, "run_once": true, "tags": true,
	"timeout": true, "vars": true, "when": true, "listen": true}

// onlyForTasks are keywords without a meaning for an import, which is no task when the play runs. Ansible takes them in silence.
var onlyForTasks = map[string]bool{"register": true, "until": true, "retries": true, "delay": true, "changed_when": true,
	"failed_when": true, "loop_control": true, "listen": true, "local_action": true}

// include reads the four actions that bring tasks. Imports are carried out, includes become tasks with an Include.
func (r *reader) include(d *draft, fields []field, in Inherited) []Node {
	if in.restrict {
		r.problems.Addf(d.act.at, "cannot use %q in undo: only modules that run on the host can be", d.act.name)
		return nil
	}
	static := strings.HasPrefix(d.Module, "import_")
	for _, f := range fields {
		r.checkIncludeKeyword(d, f, static)
	}
	r.arguments(d)
	switch d.Module {
	case "import_tasks":
		return r.importTasks(d, in)
	case "import_role":
		return r.importRole(d, in)
	case "include_tasks":
		d.Include = &Include{File: r.includedFile(d)}
	case "include_role":
		d.Include = &Include{Use: r.roleUse(d)}
	}
	r.apply(d)
	return []Node{d.Task}
}

func (r *reader) checkIncludeKeyword(d *draft, f field, static bool) {
	_, isKeyword := keywordKinds[f.key]
	switch isLoop := f.key == "loop" || strings.HasPrefix(f.key, "with_"); {
	case static && isLoop:
		r.problems.Addf(f.at, "cannot use %q with %s: an import is read once, before the run", f.key, d.act.name).WithHint("use %s", strings.Replace(d.Module, "import_", "include_", 1))
	case static && onlyForTasks[f.key]:
		r.warn(source.Errorf(f.at, "%q has no effect on %s: an import is no task of its own", f.key, d.act.name))
	case f.key == "undo":
		r.problems.Addf(f.at, "cannot use %q with %s: it takes back what one module did", f.key, d.act.name)
	case !static && f.key == "gate":
		r.problems.Addf(f.at, "cannot use %q with %s: it would apply to the include and not to what it brings", f.key, d.act.name).WithHint("put it into a block that is a gate")
	case !static && isKeyword && !includeKeywords[f.key]:
		r.problems.Addf(f.at, "cannot use %q with %s: it would apply to the include and not to what it brings", f.key, d.act.name).WithHint("put it under apply:, or into a block around the include")
	}
}

// onlyArguments reports arguments that an import or include does not take.
func (r *reader) onlyArguments(d *draft, names ...string) {
	for _, name := range d.Args.Names() {
		if slices.Contains(names, name) {
			continue
		}
		p := r.problems.Addf(d.Args.Pos(name), "cannot use %q of %s: no argument has this name", name, d.act.name)
		if near := source.Nearest(name, names); near != "" && near != rawParams {
			p.WithHint("did you mean %q?", near)
		} else if name == "tags" || name == "when" || name == "vars" {
			p.WithHint("write it as a keyword of the task, beside %s", d.act.name)
		}
	}
}

// includedFile is the file of include_tasks or import_tasks.
func (r *reader) includedFile(d *draft) Setting[string] {
	names := []string{rawParams, "file"}
	if d.Module == "include_tasks" {
		names = append(names, "apply")
	}
	r.onlyArguments(d, names...)
	return r.argument(d, true, "file", rawParams)
}

// argument is the first of these arguments that was given, as text.
func (r *reader) argument(d *draft, required bool, names ...string) Setting[string] {
	for _, name := range names {
		v, ok := d.Args.Var(name)
		if !ok || v == nil {
			continue
		}
		if t, isTemplate := v.(value.Template); isTemplate {
			return Templated[string](t)
		}
		text, err := toString(v)
		if err != nil {
			r.problems.Addf(d.Args.Pos(name), "cannot use %q of %s: it is %w", name, d.act.name, err)
		}
		return Const(text, d.Args.Pos(name))
	}
	if required {
		r.problems.Addf(d.act.at, "cannot use %s: %s is required", d.act.name, names[0])
	}
	return Setting[string]{}
}

func (r *reader) flag(d *draft, name string) Setting[bool] {
	v, ok := d.Args.Var(name)
	if !ok || v == nil {
		return Setting[bool]{}
	}
	if t, isTemplate := v.(value.Template); isTemplate {
		return Templated[bool](t)
	}
	b, err := toBool(v)
	if err != nil {
		r.problems.Addf(d.Args.Pos(name), "cannot use %q of %s: it is %w", name, d.act.name, err)
	}
	return Const(b, d.Args.Pos(name))
}

// roleUse reads the arguments of include_role or import_role.
func (r *reader) roleUse(d *draft) *RoleUse {
	names := []string{"name", "role", "tasks_from", "vars_from", "defaults_from", "handlers_from", "allow_duplicates", "rolespec_validate"}
	if d.Module == "include_role" {
		names = append(names, "apply", "public")
	}
	r.onlyArguments(d, names...)
	return &RoleUse{
		Pos: d.Pos, Name: r.argument(d, true, "name", "role"),
		TasksFrom: r.argument(d, false, "tasks_from"), VarsFrom: r.argument(d, false, "vars_from"),
		DefaultsFrom: r.argument(d, false, "defaults_from"), HandlersFrom: r.argument(d, false, "handlers_from"),
		Public: r.flag(d, "public"), AllowDuplicates: r.flag(d, "allow_duplicates"), Validate: r.flag(d, "rolespec_validate"),
	}
}

// Rendered is u for one host, with every template replaced by what render gives.
func (u RoleUse) Rendered(render Render) (RoleUse, error) {
	for _, s := range []*Setting[string]{&u.Name, &u.TasksFrom, &u.VarsFrom, &u.DefaultsFrom, &u.HandlersFrom} {
		if err := s.fix(render); err != nil {
			return u, err
		}
	}
	for _, s := range []*Setting[bool]{&u.Public, &u.AllowDuplicates, &u.Validate} {
		if err := s.fix(render); err != nil {
			return u, err
		}
	}
	return u, nil
}

// apply reads the keywords that an include hands to what it brings.
func (r *reader) apply(d *draft) {
	n, ok := d.act.val, false
	if n.Node != nil && n.Kind == yaml.MappingNode {
		n, _, ok = n.step("apply")
	}
	if !ok && d.args.val.Node != nil && d.args.val.Kind == yaml.MappingNode {
		n, _, ok = d.args.val.step("apply")
	}
	if !ok || n.empty() {
		return
	}
	fields, _ := r.fields(n, "apply")
	for _, f := range fields {
		switch {
		case f.key == "gate":
			r.problems.Addf(f.at, "cannot use %q in apply: when the include is read, the batch is on its way", f.key).WithHint("put the include into a block that is a gate")
		case f.key == "vars":
			d.Include.applyVars = r.vars(f)
		case f.key == "name", r.common(&d.Include.apply, f, onBlock), r.refused(f):
		default:
			r.unknown(f, onBlock, nil)
		}
	}
}

// importName is the file or role that an import names. A template is rendered from what is known before there are hosts.
func (r *reader) importName(key string, s Setting[string], known *value.Vars) (string, bool) {
	t, isTemplate := s.Template()
	if !isTemplate {
		name, _ := s.Constant()
		if s.IsSet() && name == "" { // not set was reported as a missing argument
			r.problems.Addf(s.Pos, "cannot use %s: the name is empty", key)
		}
		return name, name != ""
	}
	hint := "use " + strings.Replace(builtin(key), "import_", "include_", 1) + ", which is read when its turn comes"
	if builtin(key) == "import_playbook" {
		hint = "write the file's name"
	}
	if r.ImportName == nil {
		r.problems.Addf(t.Pos, "cannot use a template in %s: an import is read before there are hosts", key).WithHint("%s", hint)
		return "", false
	}
	name, err := r.ImportName(t, known)
	if err == nil && name == "" {
		err = errors.New("it renders to nothing")
	}
	if err != nil {
		r.problems.Addf(t.Pos, "cannot use %q in %s: an import is read before there are hosts: %w", t.Text, key, err).WithHint("%s", hint)
	}
	return name, err == nil
}

// known are the variables that an import's name may use.
func (in Inherited) known() *value.Vars {
	magic := &value.Vars{}
	magic.Put("playbook_dir", absolute(in.baseDir), source.Pos{})
	if in.Role != nil {
		magic.Put("role_path", in.Role.Path, source.Pos{})
		magic.Put("role_name", in.Role.Name, source.Pos{})
	}
	return overlay(overlay(magic, in.Play.Vars), in.Vars)
}

func (r *reader) importTasks(d *draft, in Inherited) []Node {
	inside := in.inside(d.own, d.vars)
	file := r.includedFile(d)
	name, ok := r.importName(d.act.name, file, inside.known())
	if !ok {
		return nil
	}
	path, ok := r.findTasks(name, &in)
	if !ok {
		r.problems.Addf(file.Pos, "cannot import %s: there is no such file", name).WithHint("looked in %s", strings.Join(in.tasksDirs(), ", "))
		return nil
	}
	var nodes []Node
	r.whileOpen(path, file.Pos, func() { nodes = r.tasksFile(path, inside) })
	return nodes
}

// whileOpen runs read unless what is already being read, which would never end.
func (r *reader) whileOpen(what string, pos source.Pos, read func()) {
	if slices.Contains(r.open, what) {
		r.problems.Addf(pos, "cannot import %s: it imports itself (%s)", what, strings.Join(append(r.open, what), ", then "))
		return
	}
	r.open = append(r.open, what)
	read()
	r.open = r.open[:len(r.open)-1]
}

func (r *reader) importRole(d *draft, in Inherited) []Node {
	use := r.roleUse(d)
	name, ok := r.importName(d.act.name, use.Name, in.known())
	if !ok {
		return nil
	}
	for _, s := range []*Setting[string]{&use.TasksFrom, &use.VarsFrom, &use.DefaultsFrom, &use.HandlersFrom} {
		if s.IsSet() {
			file, ok := r.importName(d.act.name, *s, in.known())
			if !ok {
				return nil
			}
			*s = Const(file, s.Pos)
		}
	}
	use.Name = Const(name, use.Name.Pos)
	use.Public = Const(true, d.Pos)
	role := r.role(roleEntry{use: *use, vars: d.vars, from: "import"}, in.inside(d.own, d.vars))
	if role == nil {
		return nil
	}
	r.brought.Handlers = append(r.brought.Handlers, role.Handlers...)
	r.brought.Roles = append(r.brought.Roles, role)
	return role.Nodes
}
