// Package cluster holds the modules that run on the controller against clusters, for a host: what they dial goes out from that host, through its
// connection, because a bastion often has no route of its own to the cluster's addresses.
//
// They keep the contract of package tasks: what they alter is recorded before it is altered, in the controller's journal for that host, and each
// kind of record has a Restorer here.
package cluster

import "github.com/calroll/calroll/tasks"

// Modules are the cluster modules. They take their way to the cluster from Sys.
func Modules() tasks.Set {
	return tasks.Set{"etcd": func() tasks.Module { return &Etcd{} }}
}

// Kinds are the restorers of what the modules alter; dial is their way to the clusters, nil dials from here.
func Kinds(dial tasks.Dial) tasks.Kinds {
	return tasks.Kinds{etcdKind: &etcdRestorer{dial: dial}, etcd2Kind: &etcd2Restorer{dial: dial}}
}
