package playbooks

import (
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// surroundings are what a play takes over from where its file was imported.
type surroundings struct {
	baseDir string      // of the playbook that was started
	own     Keywords    // tags and when of import_playbook
	vars    *value.Vars // win over the play's
}

// playbook reads the plays of a file.
func (r *reader) playbook(file string, around surroundings) []*Play {
	n, ok := r.read(file)
	switch {
	case !ok:
		return nil
	case n.Kind != yaml.SequenceNode:
		r.problems.Addf(source.Pos{File: file, Line: max(n.Line, 1), Col: max(n.Column, 1)}, "cannot read the playbook: it is %s, and a list of plays is needed", n.describe()).
			WithHint("a play starts with \"- hosts: \"")
		return nil
	case len(n.Content) == 0:
		r.problems.Addf(n.pos(), "cannot read the playbook: it has no plays")
		return nil
	}
	var plays []*Play
	for _, item := range n.items() {
		plays = append(plays, r.plays(item, around)...)
	}
	return plays
}

// plays reads one entry of a playbook: a play or an import.
func (r *reader) plays(n node, around surroundings) []*Play {
	fields, ok := r.fields(n, "a play")
	if !ok {
		return nil
	}
	for _, f := range fields {
		switch builtin(f.key) {
		case "import_playbook":
			return r.importPlaybook(f, fields, around)
		case "include":
			r.problems.Addf(f.at, "cannot use %q: Ansible has replaced it", f.key).WithHint("use import_playbook")
			return nil
		}
	}
	p := &Play{Pos: n.pos(), File: n.file, Dir: dirOf(n.file), Strategy: "linear"}
	r.play(p, fields, around)
	return []*Play{p}
}

// play reads the keywords first, because the tasks inherit them wherever they are written.
func (r *reader) play(p *Play, fields []field, around surroundings) {
	sections := map[string]field{}
	hosts := false
	for _, f := range fields {
		switch f.key {
		case "pre_tasks", "tasks", "post_tasks", "handlers", "roles":
			sections[f.key] = f
			continue
		case "hosts":
			hosts = true
		}
		if !r.common(&p.Keywords, f, onPlay) && !r.playKeyword(p, f) {
			r.unknown(f, onPlay, nil)
		}
	}
	if !hosts {
		r.problems.Addf(p.Pos, "cannot read a play: it has no hosts").WithHint("add \"hosts: all\", or a group or pattern")
	}
	p.Vars = overlay(p.Vars, around.vars)
	p.Tags = joinSettings(p.Tags, around.own.Tags)
	p.GatherWhen = around.own.When
	in := Inherited{Keywords: p.Keywords, Play: p, file: p.File, baseDir: around.baseDir}
	handlersIn := in // conditions of an import are not for handlers
	in.Keywords.When = around.own.When
	r.brought = Included{}
	roleTasks := r.playRoles(p, sections["roles"], in)
	p.Handlers = append(p.Handlers, r.handlers(sections["handlers"].val, handlersIn)...)
	p.PreTasks = r.section(sections["pre_tasks"], in)
	p.Tasks = slices.Concat(roleTasks, r.section(sections["tasks"], in))
	p.PostTasks = r.section(sections["post_tasks"], in)
	r.gates(p)
	if p.Confirm.IsSet() && p.Rollback == "none" {
		r.problems.Addf(p.Confirm.Pos, "cannot use %q: the play says \"rollback: none\", and a host that is not confirmed is taken back", "confirm").
			WithHint("say host, batch or all, or nothing, which is batch here")
	}
	p.Handlers = append(p.Handlers, r.brought.Handlers...)
	p.Roles = append(p.Roles, r.brought.Roles...)
}

func (r *reader) section(f field, in Inherited) []Node {
	if f.val.empty() {
		return nil
	}
	return r.nodes(f.val, in, f.key)
}

func (r *reader) playKeyword(p *Play, f field) bool {
	switch f.key {
	case "name":
		p.Name = setting[string](r, f)
	case "user":
		p.RemoteUser = setting[string](r, f)
	case "hosts":
		p.Hosts = r.hosts(f)
	case "vars":
		p.Vars = r.vars(f)
	case "vars_files":
		p.VarsFiles = r.varsFiles(f)
	case "gather_facts":
		p.GatherFacts = setting[bool](r, f)
	case "gather_subset":
		p.GatherSubset = r.commaTexts(f)
	case "gather_timeout":
		p.GatherTimeout = setting[int](r, f)
	case "fact_path":
		p.FactPath = setting[string](r, f)
	case "serial":
		p.Serial = r.serial(f)
	case "max_fail_percentage":
		p.MaxFailPercentage = r.percentage(f)
	case "time_limit":
		p.TimeLimit = r.duration(f)
	case "force_handlers":
		p.ForceHandlers = setting[bool](r, f)
	case "order":
		p.Order = r.choice(f, "inventory", "reverse_inventory", "sorted", "reverse_sorted", "shuffle")
	case "strategy":
		r.strategy(f)
	case "rollback":
		p.Rollback = r.rollback(f)
	default:
		return r.rolling(p, f) || r.refused(f)
	}
	return true
}

func (r *reader) hosts(f field) []Setting[string] {
	var out []Setting[string]
	for _, n := range f.val.list() {
		if n.Kind != yaml.ScalarNode || n.empty() {
			r.problems.Addf(n.pos(), "cannot use %q: it is %s, and a host pattern is needed", f.key, n.describe())
			return []Setting[string]{{}}
		}
		out = append(out, item[string](r, f.key, n))
	}
	if len(out) == 0 {
		r.problems.Addf(f.at, "cannot read a play: its hosts are empty").WithHint("name a group or pattern, or \"all\"")
	}
	return out
}

func (r *reader) varsFiles(f field) [][]Setting[string] {
	var out [][]Setting[string]
	for _, n := range f.val.list() {
		if alternatives := r.texts(field{f.key, f.at, n}); len(alternatives) > 0 {
			out = append(out, alternatives)
		}
	}
	return out
}

func (r *reader) serial(f field) []Setting[string] {
	batches := r.texts(f)
	for _, b := range batches {
		text, ok := b.Constant()
		number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
		n, err := strconv.ParseFloat(number, 64)
		if ok && (err != nil || n < 0 || !percent && n != float64(int(n))) {
			r.problems.Addf(b.Pos, "cannot use %q: %s is neither a number of hosts nor a percentage", f.key, strconv.Quote(text)).WithHint("write 2, \"30%%\", or a list of them")
		}
	}
	return batches
}

func (r *reader) percentage(f field) Setting[float64] {
	if f.val.Kind == yaml.ScalarNode {
		trimmed := *f.val.Node
		trimmed.Value = strings.TrimSuffix(trimmed.Value, "%")
		f.val.Node = &trimmed
	}
	s := setting[float64](r, f)
	if v, ok := s.Constant(); ok && (v < 0 || v > 100) {
		r.problems.Addf(s.Pos, "cannot use %q: %v is not between 0 and 100", f.key, v)
	}
	return s
}

// choice is a text out of a fixed set, unless it is a template.
func (r *reader) choice(f field, allowed ...string) Setting[string] {
	s := setting[string](r, f)
	if v, ok := s.Constant(); ok && !slices.Contains(allowed, v) {
		p := r.problems.Addf(s.Pos, "cannot use %q: %q is not one of %s", f.key, v, strings.Join(allowed, ", "))
		if near := source.Nearest(v, allowed); near != "" {
			p.WithHint("did you mean %q?", near)
		}
	}
	return s
}

func (r *reader) strategy(f field) {
	s := setting[string](r, f)
	switch name, _ := s.Constant(); builtin(name) {
	case "linear":
	case "free", "host_pinned", "debug":
		r.problems.Addf(s.Pos, "cannot use %q: the strategy %q is not supported yet", f.key, name).WithHint("leave it out: tasks run in step on all hosts of a batch (linear)")
	default:
		if s.IsSet() {
			r.problems.Addf(s.Pos, "cannot use %q: there is no strategy %q", f.key, s.Text()).WithHint("the only one is linear")
		}
	}
}

func (r *reader) rollback(f field) string {
	if f.val.Kind == yaml.MappingNode {
		fields, _ := r.fields(f.val, "rollback")
		scope := ""
		for _, inner := range fields {
			if inner.key != "scope" {
				r.problems.Addf(inner.at, "cannot use %q in rollback: its only key is scope", inner.key)
				continue
			}
			scope = r.rollback(field{"scope", inner.at, inner.val})
		}
		return scope
	}
	s := r.choice(f, "host", "batch", "all", "none")
	scope, ok := s.Constant()
	if s.IsSet() && !ok {
		r.problems.Addf(s.Pos, "cannot use %q: it is read before there are hosts, and cannot be a template", f.key)
	}
	return scope
}

// importPlaybook puts the plays of another file in its place. Its tags and conditions go to all of them, its vars win over theirs.
func (r *reader) importPlaybook(at field, fields []field, around surroundings) []*Play {
	inner := surroundings{baseDir: around.baseDir}
	for _, f := range fields {
		switch {
		case f.key == at.key, f.key == "name":
		case f.key == "vars":
			inner.vars = r.vars(f)
		case keywordKinds[f.key]&onImport == 0 || !r.common(&inner.own, f, onImport):
			r.unknown(f, onImport, nil)
		}
	}
	inner.own = inner.own.within(around.own)
	inner.vars = overlay(inner.vars, around.vars)
	file := setting[string](r, at)
	if !file.IsSet() {
		r.problems.Addf(at.at, "cannot use %s: it names no file", at.key)
	}
	name, ok := r.importName(at.key, file, nil)
	if !ok {
		return nil
	}
	if !isAbs(name) {
		name = join(dirOf(at.val.file), name)
	}
	if !r.Files.isFile(name) {
		r.problems.Addf(at.val.pos(), "cannot import the playbook %s: there is no such file", name)
		return nil
	}
	var plays []*Play
	r.whileOpen(name, at.val.pos(), func() { plays = r.playbook(name, inner) })
	return plays
}
