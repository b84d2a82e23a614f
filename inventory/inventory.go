// Package inventory knows the hosts, the groups they are in, and the variables given to both.
//
// Load reads any number of sources, each of which adds to what the earlier ones said: YAML and INI files, folders of
// them, executable scripts, and lists such as "web1,web2,". What each means is what it means to ansible-playbook.
//
// The words: a Host has direct groups and, through them, ancestors; every host is in the group all, and one that is in
// no other is in ungrouped. Host.Groups are in the order in which their variables apply: by depth (the longest way
// from all), then ansible_group_priority, then name; a later one wins. localhost exists even when nobody wrote it, but
// is in no group then. A pattern ("web:&prod:!web3", see Match) picks hosts.
//
// Variables are never merged here: an inventory gives them out as layers, each as it was written, with its place
// (Layers, Folder). Which layer wins is the business of playbooks/vars.
//
// Rules: everything wrong in every source is reported at once, each with its place; an unknown key is an error. After
// Load only AddHost and AddGroup alter an inventory; they must not run beside its readers.
package inventory

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// Inventory is all hosts and groups of a run.
type Inventory struct {
	// Warnings are what deserves to be said and does not stop a run: duplicate keys, a host named like a group.
	Warnings source.Problems
	// Folders hold the group_vars and host_vars beside the sources, in the order in which they apply.
	Folders []*Folder

	hosts     []*Host
	groups    []*Group
	hostNamed map[string]*Host
	groupOf   map[string]*Group
	localhost *Host // the host that localhost, 127.0.0.1 and ::1 mean
	absent    map[string]*Absence

	mu      sync.Mutex
	members map[*Group][]*Host // guarded by mu; computed on demand, dropped on change
}

// Host is one machine, or a name for one.
type Host struct {
	Name     string
	Pos      source.Pos  // where it was first written
	File     string      // the source file it was first written in; empty for a list or localhost by itself
	Source   string      // File, or the list
	Implicit bool        // localhost that nobody wrote
	Vars     *value.Vars // what the sources give it
	groups   []*Group    // direct ones, in the order of joining
	sorted   []*Group    // with ancestors, in the order of application; nil until asked for
	mu       sync.Mutex  // guards sorted
}

// Group is a set of hosts and groups under a name.
type Group struct {
	Name     string
	Pos      source.Pos  // where it was first written
	Vars     *value.Vars // what the sources give it
	Priority int         // ansible_group_priority; 1 unless set

	children []*Group
	parents  []*Group
	hosts    []*Host // direct members
	depth    int
}

func newInventory() *Inventory {
	inv := &Inventory{hostNamed: map[string]*Host{}, groupOf: map[string]*Group{}, members: map[*Group][]*Host{}}
	all, ungrouped := inv.group("all", source.Pos{}), inv.group("ungrouped", source.Pos{})
	_ = all.adopt(ungrouped) // two groups that are new cannot form a loop
	return inv
}

// Hosts are all hosts in the order in which they were first written, without an implicit localhost.
func (inv *Inventory) Hosts() []*Host { return slices.Clone(inv.hosts) }

// Groups are all groups in the order in which they were first written, all and ungrouped first.
func (inv *Inventory) Groups() []*Group { return slices.Clone(inv.groups) }

// Group is the group called name, or nil.
func (inv *Inventory) Group(name string) *Group { return inv.groupOf[name] }

// Host is the host called name, or nil. localhost, 127.0.0.1 and ::1 always exist: they are the one of them that was
// written first, else an implicit host that connects locally.
func (inv *Inventory) Host(name string) *Host {
	if h := inv.hostNamed[name]; h != nil || !isLocalhost(name) {
		return h
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.localhost == nil {
		vars := &value.Vars{}
		vars.Put("ansible_connection", "local", source.Pos{})
		inv.localhost = &Host{Name: name, Implicit: true, Vars: vars}
	}
	return inv.localhost
}

func isLocalhost(name string) bool {
	return name == "localhost" || name == "127.0.0.1" || name == "::1"
}

// Groups are the groups that h is in, directly or not, in the order in which their variables apply: all first.
// An implicit localhost is in none.
func (h *Host) Groups() []*Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sorted == nil {
		seen := map[*Group]bool{}
		for _, g := range h.groups {
			g.withAncestors(seen)
		}
		h.sorted = slices.SortedFunc(maps.Keys(seen), byPrecedence)
	}
	return slices.Clone(h.sorted)
}

func byPrecedence(a, b *Group) int {
	switch {
	case a.depth != b.depth:
		return a.depth - b.depth
	case a.Priority != b.Priority:
		return a.Priority - b.Priority
	}
	return strings.Compare(a.Name, b.Name)
}

// GroupNames is Ansible's group_names: every group of h but all, sorted.
func (h *Host) GroupNames() []string {
	names := []string{}
	for _, g := range h.Groups() {
		if g.Name != "all" {
			names = append(names, g.Name)
		}
	}
	slices.Sort(names)
	return names
}

// ShortName is Ansible's inventory_hostname_short: the name up to its first dot; an address stays whole.
func (h *Host) ShortName() string {
	if _, err := netip.ParseAddr(h.Name); err == nil {
		return h.Name
	}
	short, _, _ := strings.Cut(h.Name, ".")
	return short
}

// Children are the groups directly in g, in the order in which they joined.
func (g *Group) Children() []*Group { return slices.Clone(g.children) }

// Depth is the length of the longest way from the group all.
func (g *Group) Depth() int { return g.depth }

func (g *Group) withAncestors(seen map[*Group]bool) {
	if seen[g] {
		return
	}
	seen[g] = true
	for _, p := range g.parents {
		p.withAncestors(seen)
	}
}

// Members are the hosts in g, directly or through its children, in inventory order: g's own first, then those of
// its children, then those of theirs.
func (inv *Inventory) Members(g *Group) []*Host {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if hosts, ok := inv.members[g]; ok {
		return slices.Clone(hosts)
	}
	hosts := []*Host{}
	seenHost, seenGroup := map[*Host]bool{}, map[*Group]bool{g: true}
	for queue := []*Group{g}; len(queue) > 0; queue = queue[1:] {
		for _, h := range queue[0].hosts {
			if !seenHost[h] {
				seenHost[h] = true
				hosts = append(hosts, h)
			}
		}
		for _, child := range queue[0].children {
			if !seenGroup[child] {
				seenGroup[child] = true
				queue = append(queue, child)
			}
		}
	}
	inv.members[g] = hosts
	return slices.Clone(hosts)
}

// group is the group called name, made at pos when it is new.
func (inv *Inventory) group(name string, pos source.Pos) *Group {
	g := inv.groupOf[name]
	if g == nil {
		g = &Group{Name: name, Pos: pos, Priority: 1, Vars: &value.Vars{}}
		inv.groupOf[name] = g
		inv.groups = append(inv.groups, g)
	}
	return g
}

// host is the host called name in g, made at pos when it is new. file is empty for a list.
func (inv *Inventory) host(name string, g *Group, pos source.Pos, file string) *Host {
	h := inv.hostNamed[name]
	if h == nil {
		h = &Host{Name: name, Pos: pos, File: file, Source: file, Vars: &value.Vars{}}
		inv.hostNamed[name] = h
		inv.hosts = append(inv.hosts, h)
		if isLocalhost(name) && inv.localhost == nil {
			inv.localhost = h
		}
	}
	if !slices.Contains(h.groups, g) {
		h.groups = append(h.groups, g)
		g.hosts = append(g.hosts, h)
	}
	return h
}

// adopt makes child a child of g; a loop is an error.
func (g *Group) adopt(child *Group) error {
	ancestors := map[*Group]bool{}
	g.withAncestors(ancestors)
	if ancestors[child] || child.Name == "all" {
		return fmt.Errorf("cannot make group %q a child of %q: they would contain each other", child.Name, g.Name)
	}
	if !slices.Contains(g.children, child) {
		g.children = append(g.children, child)
		child.parents = append(child.parents, g)
	}
	return nil
}

// setVar gives g a variable; ansible_group_priority is a property of the group, not a variable.
func (g *Group) setVar(name string, v any, pos source.Pos) error {
	if name != "ansible_group_priority" {
		g.Vars.Put(name, v, pos)
		return nil
	}
	n, err := strconv.Atoi(fmt.Sprint(v))
	if err != nil {
		return source.Errorf(pos, "cannot set the priority of group %q to %v: it must be a whole number", g.Name, v)
	}
	g.Priority = n
	return nil
}

// settle makes the groups whole once everything has been read: groups without a parent join all, hosts without a group
// join ungrouped and the others leave it, depths are computed.
func (inv *Inventory) settle() {
	all, ungrouped := inv.groupOf["all"], inv.groupOf["ungrouped"]
	for _, g := range inv.groups {
		if g != all && len(g.parents) == 0 {
			_ = all.adopt(g) // all has no ancestors, so there can be no loop
		}
	}
	for _, h := range inv.hosts {
		grouped := slices.ContainsFunc(h.groups, func(g *Group) bool { return g != all && g != ungrouped })
		switch in := slices.Contains(h.groups, ungrouped); {
		case grouped && in:
			h.groups = slices.DeleteFunc(h.groups, func(g *Group) bool { return g == ungrouped })
			ungrouped.hosts = slices.DeleteFunc(ungrouped.hosts, func(m *Host) bool { return m == h })
		case !grouped && !in:
			h.groups = append(h.groups, ungrouped)
			ungrouped.hosts = append(ungrouped.hosts, h)
		}
		h.sorted = nil
	}
	for _, g := range inv.groups {
		g.depth = 0
	}
	all.deepen(0)
	clear(inv.members)
}

func (g *Group) deepen(depth int) {
	if depth < g.depth || depth == g.depth && depth > 0 {
		return
	}
	g.depth = depth
	for _, child := range g.children {
		child.deepen(depth + 1)
	}
}

// AddGroup gives the group called name, new if need be, and makes it a child of each parent.
func (inv *Inventory) AddGroup(name string, parents ...string) (*Group, error) {
	g := inv.group(name, source.Pos{})
	for _, parent := range parents {
		if err := inv.group(parent, source.Pos{}).adopt(g); err != nil {
			return nil, err
		}
	}
	inv.settle()
	return g, nil
}

// AddHost gives the host called name, new if need be, and puts it in each group, made if need be.
func (inv *Inventory) AddHost(name string, groups ...string) *Host {
	h := inv.host(name, inv.groupOf["all"], source.Pos{}, "")
	for _, g := range groups {
		inv.host(name, inv.group(g, source.Pos{}), source.Pos{}, "")
	}
	inv.settle()
	return h
}
