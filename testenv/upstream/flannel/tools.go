//go:build tools

// Package flannel names flanneld, which the lab builds, so that go.mod keeps what it needs.
package flannel

import (
	_ "github.com/flannel-io/flannel"
)
