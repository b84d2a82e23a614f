// Package node holds the modules that run on a target: one file each, named after the module, with its struct and its
// registration. What a module takes is in its struct tags, what it alters goes through tasks.Sys, and what it answers has the
// names, defaults and meaning of changed that Ansible's module of the same name has.
//
// The controller prepares what a node cannot know: it renders templates, reads files of the bastion and hands their content over in
// arguments that begin with an underscore. An argument tagged `local` is the controller's alone.
package node

import (
	"maps"

	"github.com/calroll/calroll/tasks"
)

var modules = tasks.Set{}

// Modules is the set of all modules of this package. The caller owns it.
func Modules() tasks.Set { return maps.Clone(modules) }

// register adds a module; each module's file calls it once, in a package-level declaration.
func register(name string, make func() tasks.Module) struct{} {
	if _, twice := modules[name]; twice {
		panic("node: two modules are named " + name)
	}
	modules[name] = make
	return struct{}{}
}
