//go:build tools

// Package kubelet123 names the last kubelet that has dockershim in it, for hosts on which Calico's older guides are followed.
package kubelet123

import (
	_ "k8s.io/kubernetes/cmd/kubelet"
)
