// Package kube makes real Kubernetes for tests and labs.
//
// StartAPI runs etcd, kube-apiserver and, where asked, kube-controller-manager as processes of this machine: enough for whatever only reads
// and writes objects. It costs seconds and about 350 MB.
//
// ForTest and Start raise a whole cluster on the hosts of a lab: a control plane as units on a host of its own, nodes with a kubelet, kube-proxy
// and a container runtime each, nothing in the way of a network. Files are where kubeadm has them; programs and images come from the cache of
// package artifacts, which every host sees at /srv/lab. Cluster has what tests do next: run kubectl, wait for nodes, start pods that talk HTTP to each
// other and count what was lost, add and remove nodes, and compare the objects with an earlier picture of them.
//
// A cluster is as real as these hosts allow: kubelets leave OOM scores, limits of connections and swap alone, because hosts share a machine. IPIP,
// IPVS and WireGuard are not to be had where the machine's kernel lacks them. The control plane's host is no node, unless
// Options.ControlNode makes it one: else it has no route to pods.
//
// Authority of a cluster, certificates and kubeconfigs are made here too (NewPKI), under kubeadm's file names, for both forms.
package kube
