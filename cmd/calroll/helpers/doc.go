// Package helpers carries the built helper programs inside calroll, compressed, one for each platform of hosts.
//
// `make build` runs build.sh, which leaves linux-<arch>.gz and SHA256SUMS in the folder built, and builds calroll with the tag
// "helpers", which embeds them. Without the tag nothing is embedded, so that a plain `go build` never carries a helper that is
// older than its source; calroll then pushes itself, to hosts of its own platform only.
package helpers
