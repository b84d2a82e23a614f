// Package artifacts makes the real upstream programs that a lab installs, and offers them as upstream would.
//
// A pin is a Go module of its own under testenv/upstream that fixes a release of an upstream project: the
// containernetworking plugins, Calico, etcd. Build compiles a pin's programs from the Go module proxy and makes of them the
// files that upstream publishes: release archives and images. What is made stays in a cache, under a key that
// covers everything it was made from, and is published there by a rename, so that a reader never sees half a file
// and two builders wait for each other instead of colliding. The cache may be deleted at any time.
//
// A Set is what one Build made. Serve offers sets over HTTP under the paths of the upstream release sites, each file
// with its sha256, so that a playbook tells the lab from upstream by its base URL alone. StartEtcd runs the built
// etcd, with certificates of its own where asked.
//
// To move a pin: `go get module@version` and `go mod tidy` in its directory, then the version in pins.go.
//
// What differs from upstream's own files: Calico is built without cgo, so its eBPF dataplane is absent, and the
// BIRD of its node image is Debian's 1.6, without Calico's patch for IP-in-IP routes. A Request for another Calico
// version than CalicoVersion compiles the same source and only stamps it with that version, which is enough to
// exercise an upgrade and says nothing about the code of that version.
package artifacts
