//go:build tools

// Package calico names the main packages of Calico that the lab builds, so that go.mod keeps what they need.
package calico

import (
	_ "github.com/projectcalico/calico/calicoctl/calicoctl"
	_ "github.com/projectcalico/calico/cni-plugin/cmd/install"
	_ "github.com/projectcalico/calico/kube-controllers/cmd/check-status"
	_ "github.com/projectcalico/calico/kube-controllers/cmd/kube-controllers"
	_ "github.com/projectcalico/calico/node/cmd/calico"
	_ "github.com/projectcalico/calico/node/cmd/calico-ipam"
	_ "github.com/projectcalico/calico/node/cmd/calico-node"
	_ "github.com/projectcalico/calico/typha/cmd/calico-typha"
)
