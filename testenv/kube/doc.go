// Package kube makes real Kubernetes for tests and labs.
//
// StartAPI runs etcd, kube-apiserver and, where asked, kube-controller-manager as processes of this machine: enough for whatever only reads
// and writes objects. It costs seconds and about 350 MB.
//
// Authority of a cluster, certificates and kubeconfigs are made here too (NewPKI), under kubeadm's file names, for both forms.
package kube
