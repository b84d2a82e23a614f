package runner

import (
	"errors"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
)

// newWorld makes the variables of a run.
func newWorld(o Options) *vars.World {
	verbosity, limit := o.Verbosity, any(nil)
	if o.Limit != "" {
		limit = o.Limit
	}
	magic := value.NewDict("ansible_check_mode", o.Check, "ansible_diff_mode", o.Diff, "ansible_forks", o.Forks, "ansible_verbosity", verbosity,
		"ansible_run_tags", texts(or1(o.Tags, "all")), "ansible_skip_tags", texts(o.SkipTags), "ansible_version", version(), "ansible_inventory_sources", texts(o.Sources), "ansible_config_file", nil)
	if limit != nil {
		magic.Set("ansible_limit", limit)
	}
	return vars.New(vars.Options{Inventory: o.Inventory, Env: o.Env, Extra: o.ExtraVars, Magic: magic})
}

// version is the version of the language that playbooks are read as.
func version() *value.Dict {
	return value.NewDict("full", "2.14.18", "major", 2, "minor", 14, "revision", 18, "string", "2.14.18")
}

func texts(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func or1(list []string, otherwise string) []string {
	if len(list) == 0 {
		return []string{otherwise}
	}
	return list
}

// playVars is what a play adds to variables.
func playVars(def *playbooks.Play) vars.Play {
	p := vars.Play{Name: def.Title(), Vars: def.Vars}
	for _, r := range def.Roles {
		p.Roles = append(p.Roles, roleVars(r))
	}
	return p
}

func roleVars(r *playbooks.Role) vars.Role {
	v := vars.Role{Name: r.Name, Path: r.Path, Defaults: r.DefaultVars(), Vars: r.RoleVars(), Params: r.RoleParams()}
	for i, p := range r.Parents { // Ansible counts who includes a role, not who depends on it
		if below := append(r.Parents[i+1:len(r.Parents):len(r.Parents)], r)[0]; !below.Dependency {
			v.Parents = append(v.Parents, p.Name)
		}
	}
	v.Dependencies = dependencyNames(r)
	return v
}

func dependencyNames(r *playbooks.Role) []string {
	var names []string
	for _, d := range r.Dependencies {
		names = append(append(names, d.Name), dependencyNames(d)...)
	}
	return names
}

// scope is how a task sees the variables of a host.
func (p *play) scope(r *ref, host string) *vars.Scope {
	t := vars.Task{Vars: r.task.Vars, Include: r.task.IncludeVars, Loops: r.extra, Search: r.task.SearchDirs, Environment: r.task.Environment}
	if r.task.Role != nil {
		role := roleVars(r.task.Role)
		t.Role = &role
	}
	var set bool
	if t.Delegate, set = r.task.DelegateTo.Constant(); !set && r.task.DelegateTo.IsSet() {
		t.Delegate, _ = r.task.DelegateTo.Get(render(p.world.Host(host).Task(t)), "") // one that needs the item of a loop has to do without
	}
	t.Connection = p.connectionVars(r.task, or(t.Delegate, host), t.Delegate != "")
	return p.world.Host(host).Task(t)
}

// connectionVars are ansible_host and the like as Ansible gives them to every task that has no such variables of its own.
func (p *play) connectionVars(t *playbooks.Task, target string, delegated bool) *value.Dict {
	address := target
	if delegated {
		if v, ok, err := p.world.Host(target).Scope().Lookup("ansible_host"); ok && err == nil {
			address = expr.String(v)
		}
	}
	d := value.NewDict("ansible_host", address, "ansible_ssh_host", address, "ansible_connection", or(constantOr(t.Connection, p.o.Login.Connection), "ssh"))
	if user := constantOr(t.RemoteUser, p.o.Login.User); user != "" {
		d.Set("ansible_user", user)
		d.Set("ansible_ssh_user", user)
	}
	return d
}

func constantOr(s playbooks.Setting[string], otherwise string) string {
	if v, ok := s.Constant(); ok {
		return v
	}
	return otherwise
}

// render is how a Setting is rendered in a scope.
func render(scope *vars.Scope) playbooks.Render {
	return func(t value.Template) (any, error) { return scope.Render(t) }
}

// addVarsFiles reads vars_files, of each list of alternatives the first that exists: at once where their names need no host, else for each
// host when it is looked at.
func (p *play) addVarsFiles(own *vars.Play) error {
	var problems source.Problems
	var later [][]playbooks.Setting[string]
	for _, alternatives := range p.def.VarsFiles {
		v, err := p.firstVarsFile(p.def, alternatives, p.world.Play())
		var undefined *expr.Undefined
		switch {
		case errors.As(err, &undefined):
			later = append(later, alternatives)
		case err != nil:
			problems.Add(p.def.Pos, err)
		default:
			own.Files = append(own.Files, v)
		}
	}
	if later != nil {
		own.HostFiles = func(s *vars.Scope) ([]*value.Vars, error) { return p.varsFilesOf(p.def, later, s) }
	}
	return problems.Err()
}

func (r *run) varsFilesOf(def *playbooks.Play, files [][]playbooks.Setting[string], s *vars.Scope) ([]*value.Vars, error) {
	var all []*value.Vars
	for _, alternatives := range files {
		v, err := r.firstVarsFile(def, alternatives, s)
		var undefined *expr.Undefined
		if errors.As(err, &undefined) {
			continue // facts that are not there yet
		}
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func (r *run) firstVarsFile(def *playbooks.Play, alternatives []playbooks.Setting[string], s *vars.Scope) (*value.Vars, error) {
	var last error
	for _, a := range alternatives {
		name, err := a.Get(render(s), "")
		if err != nil {
			return nil, err
		}
		file, err := r.loader.Files.Find([]string{def.Dir}, "vars", name)
		if err != nil {
			last = source.Errorf(a.Pos, "cannot read vars file %s: %w", name, err)
			continue
		}
		return r.loader.LoadVars(file)
	}
	return nil, last
}

// ImportName renders the names in imports, for a Loader: with extra variables, those of the inventory's group all, and what the loader knows.
func ImportName(o Options) func(t value.Template, known *value.Vars) (string, error) {
	return func(t value.Template, known *value.Vars) (string, error) {
		w := newWorld(o)
		dir, _ := known.Var("playbook_dir")
		w.StartPlaybook(expr.String(dir))
		w.StartPlay(vars.Play{Vars: known})
		v, err := w.Play().Render(t)
		if err != nil {
			return "", err
		}
		return expr.String(v), nil
	}
}
