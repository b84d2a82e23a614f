// This module pins the flannel release that the lab builds.
module github.com/calroll/calroll/testenv/upstream/flannel

go 1.26.0

require github.com/flannel-io/flannel v0.28.10
