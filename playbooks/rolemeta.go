package playbooks

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// roleMeta reads meta/main.yml: what the role depends on comes before its own tasks and handlers.
func (r *reader) roleMeta(role *Role, in Inherited) {
	role.ArgumentSpecs = r.argumentSpecs(role)
	file := r.roleFile(role, "meta", Setting[string]{}, false)
	if file == "" {
		return
	}
	n, ok := r.read(file)
	if !ok || n.empty() {
		return
	}
	fields, _ := r.fields(n, "a role's meta/main.yml")
	for _, f := range fields {
		switch f.key {
		case "galaxy_info", "collections":
		case "allow_duplicates":
			role.AllowDuplicates, _ = setting[bool](r, f).Constant()
		case "dependencies":
			r.dependencies(role, f, in)
		case "argument_specs":
			if role.ArgumentSpecs == nil {
				role.ArgumentSpecs = r.dict(f)
			}
		default:
			p := r.problems.Addf(f.at, "cannot use %q in a role's meta: no keyword has this name", f.key)
			if near := source.Nearest(f.key, []string{"allow_duplicates", "argument_specs", "collections", "dependencies", "galaxy_info"}); near != "" {
				p.WithHint("did you mean %q?", near)
			}
		}
	}
}

func (r *reader) dependencies(role *Role, f field, in Inherited) {
	for _, n := range f.val.list() {
		e, ok := r.roleEntry(n)
		if !ok {
			continue
		}
		if dep := r.role(e, in); dep != nil {
			role.Dependencies = append(role.Dependencies, dep)
			role.Nodes = append(role.Nodes, dep.Nodes...)
			role.Handlers = append(role.Handlers, dep.Handlers...)
		}
	}
}

// argumentSpecs reads meta/argument_specs.yml.
func (r *reader) argumentSpecs(role *Role) *value.Dict {
	for _, ext := range []string{".yml", ".yaml", ".json"} {
		file := join(role.dir, "meta", "argument_specs"+ext)
		if !r.Files.isFile(file) {
			continue
		}
		n, ok := r.read(file)
		if !ok || n.empty() {
			return nil
		}
		fields, _ := r.fields(n, "argument specs")
		for _, f := range fields {
			if f.key == "argument_specs" {
				return r.dict(f)
			}
		}
		return nil
	}
	return nil
}

// validation is the task that checks a role's variables against the spec of its entry point, as Ansible inserts it.
func (r *reader) validation(role *Role, e roleEntry, in Inherited) []Node {
	entry, _ := e.use.TasksFrom.Constant()
	entry = strings.TrimSuffix(filepath.Base(entry), filepath.Ext(entry))
	if entry == "" || entry == "." {
		entry = "main"
	}
	spec, ok := role.ArgumentSpecs.At(entry).(*value.Dict)
	if !ok {
		return nil
	}
	a := &action{name: "ansible.builtin.validate_argument_spec", at: e.use.Pos}
	if !r.resolve(a, nil) {
		return nil
	}
	name := fmt.Sprintf("Validating arguments against arg spec '%s'", entry)
	if short, _ := toString(spec.At("short_description")); short != "" {
		name += " - " + short
	}
	options, _ := spec.At("options").(*value.Dict)
	t := &Task{Action: a.name, Module: a.module, Spec: a.spec, Args: &value.Vars{}}
	t.Head = in.head(Keywords{Tags: []Setting[string]{Const("always", e.use.Pos)}}, nil, e.use.Pos, Const(name, e.use.Pos))
	t.outer, t.SearchDirs = &in, in.searchDirs()
	for key, v := range value.NewDict("argument_spec", orEmpty(options), "provided_arguments", orEmpty(role.Params.Dict()), "validate_args_context",
		value.NewDict("type", "role", "name", role.Name, "argument_spec_name", entry, "path", role.Path)).All() {
		t.Args.Put(key.(string), v, e.use.Pos)
	}
	return []Node{t}
}

func orEmpty(d *value.Dict) *value.Dict {
	if d == nil {
		return &value.Dict{}
	}
	return d
}
