// Package cluster holds the modules that run on the controller against clusters, for a host: what they dial goes out from that host, through its
// connection, because a bastion often has no route of its own to the cluster's addresses.
//
// They keep the contract of package tasks: what they alter is recorded before it is altered, in the controller's journal for that host, and each
// kind of record has a Restorer here.
package cluster

import "github.com/calroll/calroll/tasks"

// Modules are the cluster modules. They take their way to the cluster from Sys.
func Modules() tasks.Set {
	return tasks.Set{
		"etcd":             func() tasks.Module { return &Etcd{} },
		"k8s":              func() tasks.Module { return &K8s{} },
		"k8s_info":         func() tasks.Module { return &K8sInfo{} },
		"k8s_cluster_info": func() tasks.Module { return &K8sClusterInfo{} },
		"k8s_drain":        func() tasks.Module { return &K8sDrain{} },
		"k8s_exec":         func() tasks.Module { return &K8sExec{} },
		"k8s_can_i":        func() tasks.Module { return &K8sCanI{} },
	}
}

// Kinds are the restorers of what the modules alter; reach is their way to the clusters.
func Kinds(reach tasks.Reach) tasks.Kinds {
	return tasks.Kinds{etcdKind: &etcdRestorer{dial: reach.Dial}, etcd2Kind: &etcd2Restorer{dial: reach.Dial}, k8sKind: newK8sRestorer(reach)}
}
