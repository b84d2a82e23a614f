package playbooks

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// roleEntry is a use of a role that is being read.
type roleEntry struct {
	use    RoleUse
	own    Keywords
	vars   *value.Vars
	params *value.Vars
	from   string // "" for roles: and dependencies, "import" or "include"
}

// playRoles reads roles:, whose tasks come before the play's.
func (r *reader) playRoles(p *Play, f field, in Inherited) []Node {
	if f.val.empty() {
		return nil
	}
	if f.val.Kind != yaml.SequenceNode {
		r.problems.Addf(f.val.pos(), "cannot use \"roles\": it is %s, and a list is needed", f.val.describe())
		return nil
	}
	var nodes []Node
	for _, n := range f.val.items() {
		entry, ok := r.roleEntry(n)
		if !ok {
			continue
		}
		entry.use.Public = Const(true, n.pos())
		if role := r.role(entry, in); role != nil {
			nodes = append(nodes, role.Nodes...)
			p.Handlers = append(p.Handlers, role.Handlers...)
			p.Roles = append(p.Roles, role)
		}
	}
	return nodes
}

// roleEntry reads one of roles: or of a role's dependencies: a name, or a mapping with keywords and parameters.
func (r *reader) roleEntry(n node) (roleEntry, bool) {
	e := roleEntry{use: RoleUse{Pos: n.pos()}}
	if n.Kind == yaml.ScalarNode {
		e.use.Name = item[string](r, "role", n)
		return e, r.constantName(e.use.Name, n)
	}
	fields, ok := r.fields(n, "a role")
	if !ok {
		return e, false
	}
	for _, f := range fields {
		switch f.key {
		case "role", "name":
			if f.key == "role" || !hasKey(fields, "role") {
				e.use.Name = setting[string](r, f)
			}
		case "vars":
			e.vars = r.vars(f)
		case "tasks_from", "vars_from", "defaults_from", "handlers_from", "src", "scm", "version":
			r.problems.Addf(f.at, "cannot use %q of a role here: it would be nothing but a variable", f.key).WithHint("in tasks, import_role and include_role take *_from")
		default:
			if !r.common(&e.own, f, onRole) && !r.refused(f) {
				r.roleParam(&e, f)
			}
		}
	}
	return e, r.constantName(e.use.Name, n)
}

// roleParam reads a further key of a role, which is a variable for it.
func (r *reader) roleParam(e *roleEntry, f field) {
	if k, isKeyword := keywordKinds[f.key]; isKeyword {
		r.problems.Addf(f.at, "cannot use %q in a role: it is a keyword of %s", f.key, k.list()).WithHint("a variable of this name would go under vars:")
		return
	}
	if e.params == nil {
		e.params = &value.Vars{}
	}
	v, _ := r.value(f.val)
	e.params.Put(f.key, v, f.at)
}

func (r *reader) constantName(s Setting[string], n node) bool {
	name, constant := s.Constant()
	switch {
	case !s.IsSet() || constant && strings.TrimSpace(name) == "":
		r.problems.Addf(n.pos(), "cannot use a role: it has no name").WithHint("write the role's name, or a mapping with a key \"role\"")
		return false
	case !constant && r.ImportName == nil:
		r.problems.Addf(s.Pos, "cannot use a template as a role's name: roles are read before there are hosts").WithHint("use include_role in tasks")
		return false
	}
	return true
}

// role reads a role with everything it brings; nil when it cannot be found.
func (r *reader) role(e roleEntry, in Inherited) *Role {
	name, ok := r.importName("roles", e.use.Name, in.known())
	if !ok {
		return nil
	}
	dir, ok := r.findRole(name, in, e.use.Name.Pos)
	if !ok {
		return nil
	}
	role := &Role{Pos: e.use.Pos, Name: name, Path: absolute(dir), dir: dir, Keywords: e.own.within(in.Keywords), Vars: e.vars, Params: e.params}
	if filepath.IsAbs(name) {
		role.Name = filepath.Base(name)
	}
	role.Public, _ = e.use.Public.Constant()
	role.Key = e.key(role.Path)
	if in.Role != nil {
		role.Parents = append(slices.Clone(in.Role.Parents), in.Role)
		role.Dependency = e.from == ""
	}
	r.whileOpen("role "+dir, e.use.Name.Pos, func() { r.roleParts(role, e, in) })
	return role
}

// roleParts reads the files of a role.
func (r *reader) roleParts(role *Role, e roleEntry, in Inherited) {
	in.Keywords, in.Role = role.Keywords, role
	role.Defaults = r.roleVars(role, "defaults", e.use.DefaultsFrom)
	role.FileVars = r.roleVars(role, "vars", e.use.VarsFrom)
	r.roleMeta(role, in)
	if allow, ok := e.use.AllowDuplicates.Constant(); ok {
		role.AllowDuplicates = allow
	} else if e.from == "include" || e.from == "import" {
		role.AllowDuplicates = true // Ansible's default for both, whatever the role's meta says
	}
	if validate, ok := e.use.Validate.Constant(); !ok || validate {
		role.Nodes = append(role.Nodes, r.validation(role, e, in)...)
	}
	role.Nodes = append(role.Nodes, r.roleTasks(role, "tasks", e.use.TasksFrom, in)...)
	role.Nodes = append(role.Nodes, r.roleComplete(in))
	in.handlers = true
	for _, n := range r.roleTasks(role, "handlers", e.use.HandlersFrom, in) {
		role.Handlers = append(role.Handlers, n.(*Task)) // blocks were refused
	}
}

// roleComplete is the implicit last task of a role.
func (r *reader) roleComplete(in Inherited) *Task {
	t := &Task{Head: in.head(Keywords{}, nil, in.Role.Pos, Setting[string]{}), Action: "meta", Module: "meta", Implicit: true, Args: &value.Vars{}}
	t.When = nil
	t.Tags = []Setting[string]{Const("always", in.Role.Pos)}
	t.Args.Put(rawParams, "role_complete", in.Role.Pos)
	t.outer = &in
	return t
}

// findRole looks where Ansible looks: the roles folder beside the play, the roles path, beside the role that depends on it, beside
// the play, in the catalogue.
func (r *reader) findRole(name string, in Inherited, pos source.Pos) (string, bool) {
	if isAbs(name) && r.Files.isDir(name) {
		return name, true
	}
	dirs := r.rolesDirs(in)
	for _, dir := range dirs {
		if path := join(dir, name); r.Files.isDir(path) {
			return path, true
		}
	}
	p := r.problems.Addf(pos, "cannot find the role %q", name).WithHint("looked in %s", strings.Join(dirs, ", "))
	if near := source.Nearest(name, r.roleNames(dirs[0])); near != "" {
		p.WithHint("did you mean %q?", near)
	} else if strings.Count(name, ".") == 2 {
		p.WithHint("roles of collections are not supported yet; put the role into %s", dirs[0])
	}
	return "", false
}

func (r *reader) rolesDirs(in Inherited) []string {
	dirs := append([]string{join(in.Play.Dir, "roles"), join(in.baseDir, "roles")}, r.RolesPath...)
	if in.Role != nil {
		dirs = append(dirs, dirOf(in.Role.dir))
	}
	dirs = append(dirs, in.Play.Dir, in.baseDir)
	if r.Files.Catalog != nil {
		dirs = append(dirs, CatalogPrefix+"roles")
	}
	return once(dirs)
}

// once is names without those that were there before.
func once(names []string) []string {
	var out []string
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func (r *reader) roleNames(dir string) []string {
	entries, _ := r.Files.ReadDir(dir) // no such folder: no names
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// roleFile is the main file in a folder of a role, or the one that from names; "" when there is none.
func (r *reader) roleFile(role *Role, folder string, from Setting[string], dirsToo bool) string {
	name, _ := from.Constant()
	if name == "" {
		name = "main"
	}
	base := join(role.dir, folder, name)
	for _, ext := range []string{".yml", ".yaml", ".json", ""} {
		if r.Files.isFile(base + ext) {
			return base + ext
		}
	}
	if dirsToo && r.Files.isDir(base) {
		return base
	}
	if from.IsSet() {
		r.problems.Addf(from.Pos, "cannot use %q of the role %s: there is no such file in %s", name, role.Name, join(role.dir, folder))
	}
	return ""
}

func (r *reader) roleTasks(role *Role, folder string, from Setting[string], in Inherited) []Node {
	file := r.roleFile(role, folder, from, false)
	if file == "" {
		return nil
	}
	return r.tasksFile(file, in)
}

func (r *reader) roleVars(role *Role, folder string, from Setting[string]) *value.Vars {
	path := r.roleFile(role, folder, from, true)
	if path == "" {
		return nil
	}
	return r.varsPath(path)
}

// varsPath reads a file of variables, or all below a folder.
func (r *reader) varsPath(path string) *value.Vars {
	if !r.Files.isDir(path) {
		n, ok := r.read(path)
		if !ok || n.empty() {
			return nil
		}
		vars, err := value.VarsFromYAML(n.Node, path)
		r.problems.Add(source.Pos{File: path}, err)
		return vars
	}
	entries, err := r.Files.ReadDir(path)
	r.problems.Add(source.Pos{File: path}, err)
	var all *value.Vars
	for _, e := range entries {
		inner := join(path, e.Name())
		if e.IsDir() || slices.Contains([]string{".yml", ".yaml", ".json", ""}, filepath.Ext(e.Name())) && !strings.HasSuffix(e.Name(), "~") {
			all = overlay(all, r.varsPath(inner))
		}
	}
	return all
}

// key is equal for equal uses: the same role with the same parameters, conditions, tags, variables and files.
func (e roleEntry) key(path string) string {
	parts := []any{path, e.from != "", e.use.TasksFrom.Text(), e.use.VarsFrom.Text(), e.use.DefaultsFrom.Text(), e.use.HandlersFrom.Text()}
	for _, vars := range []*value.Vars{e.vars, e.params} {
		parts = append(parts, bare(vars.Dict()))
	}
	for _, c := range e.own.When {
		parts = append(parts, "when "+c.Text)
	}
	for _, t := range e.own.Tags {
		parts = append(parts, "tag "+t.Text())
	}
	text, err := json.Marshal(parts)
	if err != nil { // a number without JSON (.inf): then no two uses are the same
		return fmt.Sprintf("%s %v", path, e.use.Pos)
	}
	return string(text)
}

// bare is v without the places of its templates.
func bare(v any) any {
	switch v := v.(type) {
	case value.Template:
		return "template " + v.Text
	case value.Vault:
		return "vault " + v.Text
	case *value.Dict:
		d := &value.Dict{}
		for k, e := range v.All() {
			d.Set(k, bare(e))
		}
		return d
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = bare(v[i])
		}
		return out
	}
	return v
}

// DefaultVars are the defaults that a task of the role sees, lowest first: its dependencies', its parents', its own.
func (role *Role) DefaultVars() []*value.Vars {
	var out []*value.Vars
	for _, r := range slices.Concat(role.allDependencies(), role.Parents, []*Role{role}) {
		out = append(out, r.Defaults)
	}
	return out
}

// RoleVars are the vars that a task of the role sees, lowest first: those of its parents, its dependencies, its own use and files.
func (role *Role) RoleVars() []*value.Vars {
	var out []*value.Vars
	for _, r := range slices.Concat(role.Parents, role.allDependencies(), []*Role{role}) {
		out = append(out, r.Vars, r.FileVars)
	}
	return out
}

// RoleParams are the parameters that a task of the role sees, lowest first.
func (role *Role) RoleParams() []*value.Vars {
	var out []*value.Vars
	for _, parent := range role.Parents {
		out = append(out, parent.Params)
	}
	return append(out, role.Params)
}

// allDependencies are those of the dependencies first.
func (role *Role) allDependencies() []*Role {
	var out []*Role
	for _, dep := range role.Dependencies {
		out = append(append(out, dep.allDependencies()...), dep)
	}
	return out
}
