package vars

import (
	"path/filepath"
	"slices"

	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/value"
)

// magic are the variables that Ansible makes itself and nothing overrides.
type magic struct {
	world *World
	host  *Host // nil for a play's own keywords
	task  Task
}

// magicNames are those that can be listed, beside the run's own.
var magicNames = []string{"ansible_facts", "ansible_play_batch", "ansible_play_hosts", "ansible_play_hosts_all", "ansible_play_name",
	"ansible_role_names", "ansible_play_role_names", "ansible_dependent_role_names", "environment", "groups", "hostvars", "omit",
	"play_hosts", "playbook_dir", "role_names"}

// get is a magic variable's value, and whether name is one.
func (m magic) get(s *Scope, name string) (any, bool) {
	if v, ok := m.world.o.Magic.Get(name); ok {
		return v, true
	}
	if v, ok := m.ofPlay(name); ok {
		return v, true
	}
	if v, ok := m.ofRole(name); ok {
		return v, true
	}
	switch name {
	case "hostvars":
		return s.others, true
	case "ansible_delegated_vars":
		if m.task.Delegate == "" {
			return nil, false
		}
		return value.NewDict(m.task.Delegate, everything{m.world.Host(m.task.Delegate).Scope()}), true
	case "vars":
		return everything{s}, true
	case "environment":
		return m.task.Environment, m.task.Environment != nil
	case "ansible_facts":
		if m.host == nil {
			return nil, false
		}
		if m.host.facts == nil {
			return value.NewDict(), true
		}
		return m.host.facts, true
	}
	return nil, false
}

func (m magic) ofPlay(name string) (any, bool) {
	w := m.world
	switch name {
	case "groups":
		return w.groupsDict(), true
	case "omit":
		return expr.Omit, true
	case "playbook_dir":
		return absolute(w.dir), true
	case "ansible_play_name":
		return w.play.Name, true
	case "ansible_play_hosts_all":
		return list(w.all), true
	case "ansible_play_hosts":
		return list(w.live(w.all)), true
	case "ansible_play_batch", "play_hosts":
		return list(w.live(w.batch)), true
	}
	return nil, false
}

func (m magic) ofRole(name string) (any, bool) {
	switch name {
	case "ansible_search_path":
		dirs := make([]string, len(m.task.Search))
		for i, dir := range m.task.Search {
			dirs[i] = absolute(dir)
		}
		return list(dirs), len(dirs) > 0
	case "ansible_play_role_names", "role_names":
		named, _ := m.world.roleNames()
		return list(named), true
	case "ansible_dependent_role_names":
		_, dependencies := m.world.roleNames()
		return list(dependencies), true
	case "ansible_role_names":
		named, dependencies := m.world.roleNames()
		return list(unique(append(dependencies, named...))), true
	}
	role := m.task.Role
	if role == nil {
		return nil, false
	}
	switch name {
	case "role_name", "ansible_role_name":
		return role.Name, true
	case "role_path":
		return absolute(role.Path), true
	case "ansible_parent_role_names":
		parents := slices.Clone(role.Parents)
		slices.Reverse(parents)
		return list(parents), len(parents) > 0
	}
	return nil, false
}

// roleNames are the play's roles by name, and those that they depend on.
func (w *World) roleNames() (named, dependencies []string) {
	for _, r := range w.play.Roles {
		named = append(named, r.Name)
		dependencies = append(dependencies, r.Dependencies...)
	}
	return named, unique(dependencies)
}

func unique(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// groupsDict is the magic variable groups: every group's hosts by name.
func (w *World) groupsDict() *value.Dict {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.groups != nil {
		return w.groups
	}
	w.groups = value.NewDict()
	for _, g := range w.o.Inventory.Groups() {
		var names []string
		for _, h := range w.o.Inventory.Members(g) {
			names = append(names, h.Name)
		}
		w.groups.Set(g.Name, list(names))
	}
	return w.groups
}

func (w *World) live(names []string) []string {
	var out []string
	for _, n := range names {
		if !w.gone[n] {
			out = append(out, n)
		}
	}
	return out
}

func list(names []string) []any {
	out := make([]any, len(names))
	for i, n := range names {
		out[i] = n
	}
	return out
}

func absolute(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil || len(dir) > 8 && dir[:8] == "calroll:" {
		return dir
	}
	return abs
}

// hostVars is the magic variable hostvars: each host's variables, looked up when they are used. The scopes are shared by all
// that a task's templates lead to, so that a loop through several hosts is found, and nothing is rendered twice.
type hostVars struct {
	world  *World
	scopes map[string]*Scope
}

// Get implements expr.Mapping.
func (v *hostVars) Get(name string) (any, bool, error) {
	if v.world.o.Inventory.Host(name) == nil {
		return nil, false, nil
	}
	if v.scopes == nil {
		v.scopes = map[string]*Scope{}
	}
	if v.scopes[name] == nil {
		v.scopes[name] = v.world.Host(name).alone(v)
	}
	return everything{v.scopes[name]}, true, nil
}

// Keys implements expr.Mapping.
func (v *hostVars) Keys() []string {
	var names []string
	for _, h := range v.world.o.Inventory.Hosts() {
		names = append(names, h.Name)
	}
	return names
}

// everything is all variables of a scope as a mapping.
type everything struct{ scope *Scope }

// Get implements expr.Mapping.
func (e everything) Get(name string) (any, bool, error) { return e.scope.Lookup(name) }

// Keys implements expr.Mapping.
func (e everything) Keys() []string { return e.scope.Names() }
