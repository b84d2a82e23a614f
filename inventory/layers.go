package inventory

import (
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// Kind is the step of Ansible's variable precedence that a Layer belongs to; a later one wins.
type Kind int

// The kinds, in the order of precedence. "Beside" means in group_vars or host_vars of that folder.
const (
	AllVars             Kind = iota // of the group all, in the sources
	GroupVars                       // of other groups, in the sources
	AllBesideSources                // group_vars/all beside a source
	AllBesidePlaybook               // group_vars/all beside the playbook
	GroupsBesideSources             // other group_vars beside a source
	GroupsBesidePlaybook
	HostVars // of the host, in the sources
	HostBesideSources
	HostBesidePlaybook
)

// Layer is one origin of variables for a host. Vars is shared between hosts and must not be changed.
type Layer struct {
	Kind  Kind
	Title string // what to call it: a file, or "group web"
	Vars  *value.Vars
}

// Layers are all variables that the inventory has for h, lowest precedence first. playbook is the folder of the
// playbook and may be nil. Even a host that is in no group (an implicit localhost) gets what the group all has.
func (inv *Inventory) Layers(h *Host, playbook *Folder) ([]Layer, error) {
	all := inv.groupOf["all"]
	var groups []*Group
	for _, g := range h.Groups() {
		if g != all {
			groups = append(groups, g)
		}
	}
	var c layerCollector
	c.own(AllVars, all)
	c.own(GroupVars, groups...)
	for _, f := range inv.Folders {
		c.files(AllBesideSources, f.Group, all.Name)
	}
	c.beside(AllBesidePlaybook, playbook, all)
	for _, f := range inv.Folders {
		c.beside(GroupsBesideSources, f, groups...)
	}
	c.beside(GroupsBesidePlaybook, playbook, groups...)
	c.add(HostVars, "host "+h.Name, h.Vars)
	for _, f := range inv.Folders {
		c.files(HostBesideSources, f.Host, h.Name)
	}
	if playbook != nil {
		c.files(HostBesidePlaybook, playbook.Host, h.Name)
	}
	return c.layers, c.problems.Err()
}

type layerCollector struct {
	layers   []Layer
	problems source.Problems
}

func (c *layerCollector) add(kind Kind, title string, vars *value.Vars) {
	if vars.Len() > 0 {
		c.layers = append(c.layers, Layer{kind, title, vars})
	}
}

func (c *layerCollector) own(kind Kind, groups ...*Group) {
	for _, g := range groups {
		c.add(kind, "group "+g.Name, g.Vars)
	}
}

func (c *layerCollector) beside(kind Kind, f *Folder, groups ...*Group) {
	if f == nil {
		return
	}
	for _, g := range groups {
		c.files(kind, f.Group, g.Name)
	}
}

func (c *layerCollector) files(kind Kind, read func(string) ([]File, error), name string) {
	files, err := read(name)
	c.problems.Add(source.Pos{}, err)
	for _, file := range files {
		c.add(kind, file.Path, file.Vars)
	}
}
