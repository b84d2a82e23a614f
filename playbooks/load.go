package playbooks

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/tasks"
)

// Modules are the modules that a playbook may use. Lookup takes short names and fully qualified ones.
type Modules interface {
	Lookup(name string) (*tasks.Spec, bool)
	Names() []string
}

// Loader reads playbooks. Set its fields before the first use and leave them; then it may be used by many goroutines.
// The zero Loader but for Modules reads from disk, checks no expressions and refuses imports with templates in their names.
type Loader struct {
	Files     Files
	RolesPath []string // where roles are looked for after the playbook's own roles folder, as ANSIBLE_ROLES_PATH
	Modules   Modules

	CheckTemplate  func(text string, pos source.Pos) error // the syntax of a template; may be nil
	CheckCondition func(text string, pos source.Pos) error // the syntax of a bare expression; may be nil
	// ImportName renders the file or role name of an import from what is known before there are hosts; nil refuses templates there.
	ImportName func(t value.Template, known *value.Vars) (string, error)
	// Decrypt is asked for the text of files that Ansible Vault encrypted; nil refuses them.
	Decrypt func(file string, text []byte) ([]byte, error)
	// Warn takes what is odd but taken, because Ansible takes it: keys written twice, keywords without effect on an import. It may be
	// nil, is called by one goroutine at a time, and must not use the Loader.
	Warn func(*source.Problem)

	mu     sync.Mutex // guards what follows
	number int64
	parsed map[string]*yaml.Node
	warned map[string]bool
}

// PlaybookFile is the file in a catalogue folder that a playbook's bare name means.
const PlaybookFile = "playbook.yml"

// Load reads a playbook and everything it imports. A name that is no file on disk is looked for in the catalogue: "calico-etcd"
// means calico-etcd/playbook.yml there, "calico-etcd/verify" means calico-etcd/verify.yml.
// The error is source.Problems with all mistakes; the Playbook is nil then.
func (l *Loader) Load(file string) (*Playbook, error) {
	name, err := l.locate(file)
	if err != nil {
		return nil, err
	}
	r := l.newReader()
	pb := &Playbook{File: name, Dir: dirOf(name)}
	r.whileOpen(name, source.Pos{File: name}, func() { pb.Plays = r.playbook(name, surroundings{baseDir: pb.Dir}) })
	if err := r.err(); err != nil {
		return nil, err
	}
	for i, p := range pb.Plays {
		p.Number = i + 1
		l.numberPlay(p)
	}
	return pb, nil
}

func (l *Loader) locate(name string) (string, error) {
	if l.Files.isFile(name) {
		return name, nil
	}
	var inside []string
	if bare := strings.TrimPrefix(name, CatalogPrefix); l.Files.Catalog != nil && !filepath.IsAbs(bare) {
		inside = []string{CatalogPrefix + bare, CatalogPrefix + bare + "/" + PlaybookFile, CatalogPrefix + bare + ".yml"}
	}
	if i := slices.IndexFunc(inside, l.Files.isFile); i >= 0 {
		return inside[i], nil
	}
	p := source.Errorf(source.Pos{File: name}, "cannot read the playbook: %w", fs.ErrNotExist)
	if l.Files.isDir(name) {
		p.Msg = "cannot read the playbook: it is a folder"
	}
	if shipped := l.Catalog(); len(shipped) > 0 {
		p.WithHint("give a file, or one of the embedded playbooks: %s", strings.Join(shipped, ", "))
		if near := source.Nearest(name, shipped); near != "" {
			p.WithHint("did you mean the embedded playbook %q?", near)
		}
	}
	return "", source.Problems{p}
}

// Catalog names the embedded playbooks.
func (l *Loader) Catalog() []string {
	if l.Files.Catalog == nil {
		return nil
	}
	entries, err := l.Files.ReadDir(CatalogPrefix + ".")
	if err != nil { // an empty catalogue
		return nil
	}
	var names []string
	for _, e := range entries {
		if l.Files.isFile(CatalogPrefix + e.Name() + "/" + PlaybookFile) {
			names = append(names, e.Name())
		}
	}
	return names
}

// Included is what an include brings when its turn comes. The caller runs the Nodes in the include's place, adds the Handlers
// to those of the play (behind them: when names collide the last one is meant), and lets all later tasks of the play see the
// variables of Roles.
type Included struct {
	Nodes    []Node
	Handlers []*Task
	Roles    []*Role // the included role if it is Public, and all that were imported on the way
	Role     *Role   // the included role, nil for tasks
}

// LoadTasks reads the file of an include_tasks. Relative names are looked for as Ansible does: beside the file of the include,
// in the role's tasks folder, in the playbook's. in is the include's Inherited.
func (l *Loader) LoadTasks(file string, in *Inherited) (*Included, error) {
	r := l.newReader()
	name, ok := r.findTasks(file, in)
	if !ok {
		return nil, source.Problems{source.Errorf(in.pos, "cannot include %s: %w", file, fs.ErrNotExist).WithHint("looked in %s", strings.Join(in.tasksDirs(), ", "))}
	}
	nodes := r.tasksFile(name, *in)
	r.problems = append(r.problems, lateGates(nodes, in.By)...)
	return l.included(r, Included{Nodes: nodes})
}

// LoadRole reads the role of an include_role. use must be rendered (RoleUse.Rendered); in is the include's Inherited.
func (l *Loader) LoadRole(use RoleUse, in *Inherited) (*Included, error) {
	r := l.newReader()
	role := r.role(roleEntry{use: use, vars: in.useVars, from: "include"}, *in)
	if role == nil {
		return nil, r.err()
	}
	r.problems = append(r.problems, lateGates(role.Nodes, in.By)...)
	inc := Included{Nodes: role.Nodes, Handlers: role.Handlers, Role: role}
	if role.Public {
		inc.Roles = []*Role{role}
	}
	return l.included(r, inc)
}

func (l *Loader) included(r *reader, inc Included) (*Included, error) {
	if err := r.err(); err != nil {
		return nil, err
	}
	inc.Handlers = append(inc.Handlers, r.brought.Handlers...)
	inc.Roles = append(inc.Roles, r.brought.Roles...)
	l.numberNodes(inc.Nodes)
	l.numberTasks(inc.Handlers)
	return &inc, nil
}

// LoadVars reads a file of variables, encrypted or not, or every such file below a folder, in the order of their names.
func (l *Loader) LoadVars(name string) (*value.Vars, error) {
	r := l.newReader()
	vars := r.varsPath(name)
	return vars, r.err()
}

// ReadFile reads a file from disk or catalogue, decrypted if it is encrypted. Problems in it can show its lines from now on.
func (l *Loader) ReadFile(file string) ([]byte, error) {
	text, err := l.Files.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if l.Decrypt != nil && strings.HasPrefix(string(text), "$ANSIBLE_VAULT;") {
		return l.Decrypt(file, text) // never remembered: its lines are secrets
	}
	if strings.HasPrefix(file, CatalogPrefix) {
		source.Remember(file, text)
	}
	return text, nil
}

// read parses a YAML file once; further readings share the node, which nobody changes. An empty file is an empty node.
func (r *reader) read(file string) (node, bool) {
	if n, ok := r.cached(file); ok {
		return node{n, file}, true
	}
	text, err := r.ReadFile(file)
	if err != nil {
		r.problems.Addf(source.Pos{File: file}, "cannot read the file: %w", withoutPath(err))
		return node{}, false
	}
	docs, err := value.ReadYAML(file, text)
	if err != nil {
		r.problems.Add(source.Pos{File: file}, err)
		return node{}, false
	}
	n, err := docs.One()
	r.problems.Add(source.Pos{File: file}, err)
	if n == nil {
		n = &yaml.Node{}
	}
	r.keep(file, n, docs.Warnings)
	return node{n, file}, err == nil
}

func (l *Loader) cached(file string) (*yaml.Node, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.parsed[file]
	return n, ok
}

func (l *Loader) keep(file string, n *yaml.Node, warnings source.Problems) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parsed == nil {
		l.parsed = map[string]*yaml.Node{}
	}
	l.parsed[file] = n
	for _, w := range warnings {
		l.warnOnce(w)
	}
}

// warn tells of something odd, once for each place.
func (l *Loader) warn(p *source.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warnOnce(p)
}

// warnOnce is warn with l.mu held.
func (l *Loader) warnOnce(p *source.Problem) {
	key := p.Pos.String() + p.Msg
	if l.Warn == nil || l.warned[key] {
		return
	}
	if l.warned == nil {
		l.warned = map[string]bool{}
	}
	l.warned[key] = true
	l.Warn(p)
}

// withoutPath takes the file's name off an error whose Problem names it already.
func withoutPath(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// numberPlay numbers the nodes of a play in the order of its sections.
func (l *Loader) numberPlay(p *Play) {
	for _, nodes := range p.sections() {
		l.numberNodes(nodes)
	}
	l.numberTasks(p.Handlers)
}

func (l *Loader) numberNodes(nodes []Node) {
	for _, n := range nodes {
		n.Common().Number = l.next()
		if b, ok := n.(*Block); ok {
			l.numberNodes(b.Main)
			l.numberNodes(b.Rescue)
			l.numberNodes(b.Always)
		}
	}
}

func (l *Loader) numberTasks(tasks []*Task) {
	for _, t := range tasks {
		t.Number = l.next()
	}
}

func (l *Loader) next() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number++
	return l.number
}

// ModuleSet are the modules of a tasks.Set, for a Loader.
type ModuleSet tasks.Set

// Lookup is the spec of a module.
func (s ModuleSet) Lookup(name string) (*tasks.Spec, bool) {
	newModule, ok := tasks.Set(s).Lookup(name)
	if !ok {
		return nil, false
	}
	return tasks.SpecOf(newModule()), true
}

// Names are the modules' short names.
func (s ModuleSet) Names() []string { return tasks.Set(s).Names() }
