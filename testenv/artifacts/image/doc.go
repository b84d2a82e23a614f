// Package image makes container images without a container engine.
//
// A Tree is the content of one layer. WriteLayer turns it into a gzipped tar whose bytes depend on nothing but that
// content and the Go release; WriteArchive joins layers into the format of `docker save`, which `docker load`,
// `podman load` and `ctr images import` read. Programs that are not written in Go come from Debian packages: Fetch downloads a
// package with the libraries that it depends on, a Pool holds what the packages contain, and Pool.Install copies chosen
// files into a Tree together with the shared libraries that they need. Nothing is installed on the machine, and
// nothing needs to be root.
//
// All paths of a Tree are relative, slash-separated and usr-merged: bin, sbin, lib and lib64 are links into usr,
// as in the distributions that images are built from today.
package image
