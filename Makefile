# baton: `make help` lists the targets. Each installs what it needs (Debian 12, as root).

GO       ?= go
JSON     ?=
SHORT    ?=
QUICK    ?=
RUN      ?= .
PKG      ?= ./...
TAGS     ?=
SOAK     ?= 30m
SEED     ?= 0
programs := bin/batond bin/baton-controller bin/batonctl
# tests that need root and the machine to themselves
labtests := /test/(cluster|demo|e2e|interop|lab)
export BATON_CACHE ?= $(CURDIR)/.cache
export GOFLAGS     ?= -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help build demo interop migration soak test unit race e2e fuzz-smoke golden bench bench-quick bench-vhost microbench deps lint docs proto clean packages-build packages-lab FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: packages-build $(programs) ## put batond, baton-controller and batonctl into bin/

bin/batond: FORCE
	$(GO) build -o $@ ./cmd/batond

bin/baton-controller bin/batonctl: FORCE
	CGO_ENABLED=0 $(GO) build -o $@ ./cmd/$(notdir $@)

bin/baton-demo: FORCE
	$(GO) build -o $@ ./test/demo

bin/baton-interop: FORCE
	$(GO) build -o $@ ./test/interop

bin/baton-bench: FORCE
	$(GO) build -o $@ ./cmd/baton-bench

bin/baton-bench-vhost: FORCE
	$(GO) build -o $@ ./bench/vhost

demo: packages-build packages-lab $(programs) bin/baton-demo ## two hosts, four VMs, one network: the main job on this machine (JSON=file writes the result)
	@scripts/huge-pages 256
	@bin/baton-demo $(if $(JSON),-json $(JSON))

interop: packages-build packages-lab $(programs) bin/baton-interop ## QEMU and DPDK drivers with all that they can negotiate, as a table (SHORT=1, JSON=file, RUN=cells)
	@scripts/huge-pages 512
	@bin/baton-interop $(if $(SHORT),-short) $(if $(JSON),-json $(JSON)) $(if $(filter-out .,$(RUN)),-run '$(RUN)')

migration: packages-build packages-lab $(programs) ## a guest under ping and TCP moves between two hosts: loss and pause, for split and packed rings
	@scripts/huge-pages 512
	$(GO) test -count=1 -v -timeout 20m -run '^TestMigration$$' ./test/e2e

soak: packages-build packages-lab $(programs) ## a host is upgraded, crashes, and its VMs come, go and migrate, by random, for 30 minutes: losses and leaks (SOAK=5m SEED=n)
	@scripts/huge-pages 512
	$(GO) test -count=1 -v -timeout 0 -run '^TestSoak$$' ./test/e2e -soak $(SOAK) -soak-seed $(SEED)

test: packages-build packages-lab $(programs) bin/baton-demo ## all tests, with what they need
	@scripts/huge-pages 512
	@scripts/go-test

unit: packages-build ## the tests beside the code (PKG=./dataplane/... RUN=Name TAGS=purego)
	$(GO) test -tags '$(TAGS)' -run '$(RUN)' $$($(GO) list $(PKG) | grep -vE '$(labtests)')

race: packages-build ## the tests beside the code, under the race detector
	$(GO) test -race -tags '$(TAGS)' -run '$(RUN)' $$($(GO) list $(PKG) | grep -vE '$(labtests)')

e2e: packages-build packages-lab $(programs) bin/baton-demo ## the end-to-end tests alone (RUN=Name)
	@scripts/huge-pages 512
	$(GO) test -count=1 -v -timeout 20m -p 1 -run '$(RUN)' $$($(GO) list ./test/... | grep -E '$(labtests)')

fuzz-smoke: packages-build ## each fuzzer for 10 seconds
	@scripts/fuzz 10s

golden: ## write golden files anew; read the diff before you commit it
	$(GO) test ./controlplane/compile -update

bench: packages-build packages-lab bin/baton-bench ## baton beside OVS-DPDK and testpmd, about 20 minutes (JSON=file REPORT=folder)
	@scripts/huge-pages 840
	@bin/baton-bench run --set standard $(if $(JSON),--json $(JSON)) $(if $(REPORT),--report $(REPORT))

bench-quick: packages-build packages-lab bin/baton-bench ## the same in two minutes: few cases, short trials
	@scripts/huge-pages 840
	@bin/baton-bench run --set quick $(if $(JSON),--json $(JSON)) $(if $(REPORT),--report $(REPORT))

microbench: packages-build ## the benchmarks beside the code (RUN=Name)
	$(GO) test -tags '$(TAGS)' -run '^$$' -bench '$(RUN)' -benchmem $(PKG)

bench-vhost: packages-build packages-lab bin/baton-bench-vhost ## the vhost back end beside DPDK's own (QUICK=1: a minute; JSON=file)
	@scripts/huge-pages 512
	@bin/baton-bench-vhost $(if $(QUICK),--quick) $(if $(JSON),--json $(JSON))

deps: ## import directions between the rooms
	$(GO) test -run . ./cmd

lint: packages-build ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

docs: build ## write the tables of configuration keys in docs/ anew
	bin/batond config doc >docs/batond-config.md
	bin/baton-controller config doc >docs/baton-controller-config.md

proto: ## generate Go from the .proto files (needs protoc)
	$(GO) generate ./controlplane/...

clean: ## remove bin/ and the cache of the lab
	rm -rf bin .cache

packages-build:
	@scripts/install-packages build

packages-lab:
	@scripts/install-packages build lab

FORCE:
