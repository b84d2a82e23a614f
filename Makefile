# calroll. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
GO    ?= go

# The packages of the product; the upstream pins below testenv/upstream are modules of their own.
PACKAGES := ./...
# The package whose tests run clusters of their own, one at a time.
CLUSTERS := /playbooks/catalog

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: helpers
helpers:
	@sh cmd/calroll/helpers/build.sh

.PHONY: build
build: helpers ## build dist/calroll, one static binary with the helpers for linux/amd64 and linux/arm64 inside
	CGO_ENABLED=0 $(GO) build -trimpath -tags helpers -ldflags "-s -w" -o dist/calroll ./cmd/calroll

.PHONY: setup
setup: ## install and build what the lab, the demo and the tests need (as root: distribution packages; then cached builds)
	@$(GO) run ./testenv/setup

.PHONY: test
test: setup ## run the tests, on real hosts, clusters, etcd and Calico; installs what is missing
	@# Beside others ansible-core takes ten times as long, so this goes alone, and is left out of the rest.
	$(GO) test -timeout 40m -run UnderAnsible ./cmd/calroll
	@# The clusters of the catalogue come last: beside anything but a few hosts they starve on two cores. What fails first does not hide the rest.
	@failed=0; \
	$(GO) test -timeout 90m -p 2 -skip UnderAnsible $$($(GO) list $(PACKAGES) | grep -v '$(CLUSTERS)$$') || failed=1; \
	$(GO) test -timeout 90m .$(CLUSTERS) || failed=1; \
	exit $$failed

.PHONY: nightly
nightly: setup ## run every test, those that take too long for make test too
	$(GO) test -tags nightly -timeout 150m -p 2 $(PACKAGES)

.PHONY: faults
faults: setup ## kill, cut, fill and freeze what a run needs, at every task of a play, and check what is left (two to three hours on two fast cores; PART=2/5 tries the second of every five)
	$(GO) test -tags faults -run 'TestFaults' -timeout 300m -parallel 8 -v ./testenv/faults $(if $(PART),-part $(PART))

.PHONY: lint
lint: ## vet and golangci-lint, pinned in .ci/tools
	$(GO) vet $(PACKAGES)
	$(GO) tool -modfile=.ci/tools/go.mod golangci-lint run

.PHONY: docs
docs: ## write the generated parts of docs/: the coverage ledger and the tables of variables
	$(GO) run ./testenv/docs

.PHONY: demo
demo: build ## install Calico on three throw-away hosts, break an upgrade, watch it roll back (takes everything away again)
	@$(GO) run ./testenv/setup -for demo
	@dist/calroll lab demo

.PHONY: bench
bench: build ## compare with ansible-core and with a shell script over plain ssh, as ratios; then 200 hosts
	@$(GO) run ./testenv/setup -for bench
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 50m ./testenv/bench

.PHONY: lab-up
lab-up: build ## start three lab hosts with etcd and artifacts; prints what to type next
	@$(GO) run ./testenv/setup -for lab
	@dist/calroll lab up

.PHONY: cluster-up
cluster-up: build ## start a Kubernetes control plane and three nodes without a pod network; prints what to type next
	@$(GO) run ./testenv/setup -for cluster
	@dist/calroll lab up --kubernetes 1.29 --nodes 3

.PHONY: lab-down
lab-down: build ## take the lab away
	@dist/calroll lab down
