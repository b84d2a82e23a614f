// Package vars knows which value a variable has for a host: Ansible's precedence, and templates that are rendered when they are needed.
//
// A World holds what a run knows of variables: the inventory's, the play's, and for every Host its facts, registered results and set_fact. A
// Scope is how one task on one host sees it all: a stack of layers, the lowest precedence first, each a view of data that stays where it is.
// Nothing is merged and nothing is copied; a lookup goes down the stack until a layer has the name, renders the value if it is a template,
// and remembers the outcome as long as the Scope lives, which is one task.
//
//	magic variables (groups, hostvars, omit, playbook_dir, ...)      highest
//	variables of loops, and a task's own result for its conditions   With
//	extra variables                                                  --extra-vars
//	include parameters; role parameters
//	set_fact, registered results; include_vars
//	task and block variables
//	variables of the task's role, then of all roles of the play
//	play vars_files, play vars
//	facts
//	inventory: host_vars files, inventory_hostname and the like, host, groups, all (inventory.Layers)
//	defaults of the task's role, then of all roles of the play
//	how the task connects: ansible_host, ansible_connection, ansible_user   lowest
//
// hostvars shows a host as it is without any play: no play, role or task variables. A template there that needs one of these
// is undefined (Ansible 2.14 gives the template's text instead).
//
// Rules:
//   - Only value.Template is rendered. What hosts and lookups answered is data for ever.
//   - A World is altered by one goroutine between tasks; then Scopes of different hosts may be made and read at the same time. A Scope, with
//     those made of it by With, belongs to one goroutine.
//   - Plays that go at the same time have a World each, made by Fork: until Join each sees the hosts of the others as they were.
package vars

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/value"
)

// Options make a World.
type Options struct {
	Inventory *inventory.Inventory
	Env       *expr.Env
	Extra     *value.Vars
	// Magic are further variables of the run that nothing can override: ansible_check_mode, ansible_forks and the like.
	Magic *value.Dict
}

// World is what a run knows of variables.
type World struct {
	o      Options
	folder *inventory.Folder // group_vars and host_vars beside the playbook
	dir    string            // of the playbook
	play   Play
	all    []string // the play's hosts
	batch  []string
	gone   map[string]bool

	mu     *sync.Mutex // guards what follows, and Host.base: Scopes made at the same time fill them; forks share it
	hosts  map[string]*Host
	groups *value.Dict // the magic variable, nil until it is asked for
}

// Play is what a play adds to the variables of its hosts.
type Play struct {
	Name  string
	Vars  *value.Vars
	Files []*value.Vars // vars_files, in order
	// HostFiles, when set, gives further vars_files for a host: those whose names can only be rendered with what is known of it.
	HostFiles func(*Scope) ([]*value.Vars, error)
	Roles     []Role // whose variables all tasks of the play see
}

// Role is what a role adds for its own tasks. Each list is lowest precedence first and may hold nil.
type Role struct {
	Name         string
	Path         string
	Defaults     []*value.Vars
	Vars         []*value.Vars // of the use, then vars/main.yml
	Params       []*value.Vars // further keys where the role is used
	Parents      []string      // names of the roles that brought it in, outermost first
	Dependencies []string      // names of the roles that it depends on, directly or not
}

// Host is what a run knows of a host beside its inventory.
type Host struct {
	world      *World
	host       *inventory.Host
	facts      *value.Dict // under their names in ansible_facts
	injected   *value.Dict // the same under ansible_<name>
	included   *value.Dict // include_vars
	registered *value.Dict // set_fact and register
	writer     Writer      // who sets variables now
	includedBy map[string]Writer
	setBy      map[string]Writer
	base       []layer // the inventory's, guarded by world.mu; nil until it is asked for
}

// New makes a World.
func New(o Options) *World {
	if o.Magic == nil {
		o.Magic = value.NewDict()
	}
	return &World{o: o, mu: &sync.Mutex{}, hosts: map[string]*Host{}, gone: map[string]bool{}}
}

// Fork is a World that knows what w knows now, for a play that goes at the same time as others.
func (w *World) Fork() *World {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := *w
	f.hosts, f.gone = map[string]*Host{}, maps.Clone(w.gone)
	for name, h := range w.hosts {
		f.hosts[name] = h.in(&f)
	}
	return &f
}

// Join takes over what a fork of w knows of some hosts.
func (w *World) Join(fork *World, hosts []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range hosts {
		if h := fork.hosts[name]; h != nil {
			w.hosts[name] = h.in(w)
			w.hosts[name].base = nil // the fork may have turned to another playbook
		}
	}
}

// in is the host in another World. What is known of it is never altered, but replaced, so that both can look at it.
func (h *Host) in(w *World) *Host {
	c := *h
	c.world = w
	return &c
}

// StartPlaybook turns to a playbook: group_vars and host_vars beside it count from now on.
func (w *World) StartPlaybook(dir string) {
	w.dir, w.folder = dir, inventory.NewFolder(dir)
	w.InventoryChanged()
}

// Dir is the folder of the playbook.
func (w *World) Dir() string { return w.dir }

// InventoryChanged makes later Scopes see the inventory's hosts and groups as they are now.
func (w *World) InventoryChanged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.groups = nil
	for _, h := range w.hosts {
		h.base = nil
	}
}

// StartPlay turns to a play.
func (w *World) StartPlay(p Play) { w.play, w.all, w.batch = p, nil, nil }

// AddFile adds a file of vars_files to the play.
func (w *World) AddFile(v *value.Vars) { w.play.Files = append(w.play.Files, v) }

// AddRole lets all tasks of the play see a role's variables.
func (w *World) AddRole(r Role) { w.play.Roles = append(w.play.Roles, r) }

// SetHosts says which hosts the play is for.
func (w *World) SetHosts(names []string) { w.all, w.batch = names, names }

// StartBatch says which hosts are worked on at the same time.
func (w *World) StartBatch(names []string) { w.batch = names }

// SetGone takes a host that failed out of the magic variables that list live hosts, or puts one back that was rescued.
func (w *World) SetGone(name string, gone bool) { w.gone[name] = gone }

// Host is what the run knows of a host. A name that is none of the inventory's gets a host with that name as its address, as
// delegate_to allows.
func (w *World) Host(name string) *Host {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.hosts[name]; h != nil {
		return h
	}
	in := w.o.Inventory.Host(name)
	if in == nil {
		in = &inventory.Host{Name: name, Vars: &value.Vars{}}
	}
	h := &Host{world: w, host: in}
	w.hosts[name] = h
	return h
}

// AddFacts adds what a module found out about the host: the names may begin with ansible_, as modules give them.
func (h *Host) AddFacts(facts *value.Dict) {
	clean, injected := copyOf(h.facts), copyOf(h.injected)
	for k, v := range facts.All() {
		name := fmt.Sprint(k)
		injected.Set(name, v)
		clean.Set(cleanName(name), v)
	}
	h.facts, h.injected = clean, injected
}

// SetFacts sets variables as set_fact does.
func (h *Host) SetFacts(d *value.Dict) {
	h.registered = laidOver(h.registered, d)
	h.setBy = h.wroteTo(h.setBy, "set_fact", d)
}

// IncludeVars sets variables as include_vars does.
func (h *Host) IncludeVars(d *value.Dict) {
	h.included = laidOver(h.included, d)
	h.includedBy = h.wroteTo(h.includedBy, "include_vars", d)
}

// Register keeps a task's result under a name.
func (h *Host) Register(name string, result *value.Dict) {
	d := value.NewDict(name, result)
	h.registered = laidOver(h.registered, d)
	h.setBy = h.wroteTo(h.setBy, "registered", d)
}

// ClearFacts forgets what modules found out; what set_fact set and register keeps stays.
func (h *Host) ClearFacts() { h.facts, h.injected = nil, nil }

// laidOver is a new Dict: a Scope that still looks at the old one sees no change.
func laidOver(under, over *value.Dict) *value.Dict {
	d := copyOf(under)
	for k, v := range over.All() {
		d.Set(k, v)
	}
	return d
}

func copyOf(d *value.Dict) *value.Dict {
	if d == nil {
		return value.NewDict()
	}
	return d.Copy()
}

// inventoryLayers are the host's layers of the inventory, with what Ansible says of the host among them: inventory_file below
// the host's own variables, inventory_hostname above them. They are found once a playbook.
func (h *Host) inventoryLayers() ([]layer, error) {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	if h.base != nil {
		return h.base, nil
	}
	layers, err := h.world.o.Inventory.Layers(h.host, h.world.folder)
	if err != nil {
		return nil, err
	}
	base := make([]layer, 0, len(layers)+2)
	place := func(kind inventory.Kind) {
		for len(layers) > 0 && layers[0].Kind < kind {
			base = append(base, layer{name: layers[0].Title, vars: layers[0].Vars})
			layers = layers[1:]
		}
	}
	place(inventory.HostVars)
	base = append(base, layer{name: ofInventory, dict: h.sourceVars()})
	place(inventory.HostBesideSources)
	base = append(base, layer{name: ofInventory, dict: value.NewDict("inventory_hostname", h.host.Name,
		"inventory_hostname_short", h.host.ShortName(), "group_names", list(h.host.GroupNames()))})
	place(inventory.HostBesidePlaybook + 1)
	h.base = base
	return base, nil
}

const ofInventory = "what the inventory says of the host"

func (h *Host) sourceVars() *value.Dict {
	switch {
	case h.host.Source == "":
		return nil
	case h.host.File == "": // a list of hosts
		return value.NewDict("inventory_file", h.host.Source, "inventory_dir", nil)
	}
	return value.NewDict("inventory_file", absolute(h.host.File), "inventory_dir", filepath.Dir(absolute(h.host.File)))
}
