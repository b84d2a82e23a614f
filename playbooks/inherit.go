package playbooks

import (
	"slices"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// Inherited is what stands around a node: the keywords and variables it takes over, and where it belongs.
type Inherited struct {
	Keywords Keywords
	Vars     *value.Vars
	Include  *value.Vars // include parameters
	Play     *Play
	Role     *Role
	Block    *Block
	By       *Task // the dynamic include

	pos      source.Pos // of the include
	file     string     // the file of the tasks; relative imports start beside it
	baseDir  string     // of the playbook that was started, Ansible's playbook_dir
	handlers bool
	restrict bool        // inside undo:, where only plain tasks may stand
	useVars  *value.Vars // vars of the include_role, which are vars of the role as well
}

// Inherited is what the tasks or the role that t includes take over: what t's surroundings have (t's own keywords are for t alone),
// what its apply says, and t's vars.
func (t *Task) Inherited() *Inherited {
	in := *t.outer
	in.By, in.pos, in.file = t, t.Pos, t.Pos.File
	in.Vars, in.Include = t.Vars, overlay(t.IncludeVars, t.ownVars)
	in.useVars = t.ownVars
	if t.Include != nil {
		in.Keywords = t.Include.apply.within(in.Keywords)
		in.Vars = overlay(in.Vars, t.Include.applyVars)
	}
	return &in
}

// inside is what the nodes of a block, import or role with these keywords and variables take over.
func (in Inherited) inside(own Keywords, vars *value.Vars) Inherited {
	in.Keywords = own.within(in.Keywords)
	in.Vars = overlay(in.Vars, vars)
	return in
}

// head starts a node that stands here.
func (in Inherited) head(own Keywords, vars *value.Vars, pos source.Pos, name Setting[string]) Head {
	return Head{Keywords: own.within(in.Keywords), Pos: pos, Name: name, Vars: overlay(in.Vars, vars),
		IncludeVars: in.Include, Play: in.Play, Role: in.Role, Block: in.Block, Included: in.By}
}

// searchDirs are the places where files that tasks here refer to are looked for, best first.
func (in Inherited) searchDirs() []string {
	var dirs []string
	if in.Role != nil {
		dirs = append(dirs, in.Role.dir)
		for _, parent := range slices.Backward(in.Role.Parents) {
			dirs = append(dirs, parent.dir)
		}
	}
	return once(append(dirs, dirOf(in.file), in.baseDir, in.Play.Dir))
}

// tasksDirs are the places where task files that are imported or included here are looked for.
func (in Inherited) tasksDirs() []string {
	folder := "tasks"
	if in.handlers {
		folder = "handlers"
	}
	dirs := []string{dirOf(in.file)}
	if in.Role != nil {
		dirs = append(dirs, join(in.Role.dir, folder), in.Role.dir)
	}
	return once(append(dirs, in.Play.Dir, in.baseDir))
}

func (r *reader) findTasks(name string, in *Inherited) (string, bool) {
	if isAbs(name) {
		return name, r.Files.isFile(name)
	}
	for _, dir := range in.tasksDirs() {
		if path := join(dir, name); r.Files.isFile(path) {
			return path, true
		}
	}
	return "", false
}
