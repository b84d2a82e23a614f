//go:build tools

// Package etcd names the main packages of etcd that the lab builds, so that go.mod keeps what they need.
package etcd

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
