// Calroll-remote is the program that calroll pushes to its hosts and talks to there. It is not started by hand: package
// runner/remote says what it does, and how it gets to a host.
package main

import (
	"fmt"
	"os"

	"github.com/calroll/calroll/facts"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/node"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != remote.Command {
		fmt.Fprintln(os.Stderr, "calroll starts this program on its hosts; there is nothing to do with it by hand")
		os.Exit(2)
	}
	modules := node.Modules().Merge(facts.Modules())
	os.Exit(remote.Main(os.Args[2:], remote.ServeOptions{
		Modules: modules,
		Kinds:   tasks.NodeKinds(tasks.KindOptions{Modules: modules}).Merge(node.Kinds()),
	}))
}
