# make run records on this machine with the built-in defaults; make test installs what the tests need and runs them.
# Both need root.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
MODULES := . test

export CGO_ENABLED := 0

.PHONY: help build run demo test lint race fuzz proofs bench tools image clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 10

build: ## build bin/ringside, static
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ringside ./cmd/ringside

run: build ## record until ctrl-c, with the built-in defaults
	bin/ringside run

tools: ## install what the tests run beside Go, when missing
	.ci/tools

test: tools ## all tests of both modules, less than 10 minutes
	for m in $(MODULES); do (cd $$m && go test -timeout 9m ./...) || exit 1; done

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	for m in $(MODULES); do (cd $$m && go vet ./... && go run $(STATICCHECK) ./...) || exit 1; done

race: ## the main module's tests with the race detector, which needs a C compiler
	.ci/tools race
	CGO_ENABLED=1 go test -race -timeout 15m ./...

fuzz: ## every fuzz target for 30 seconds
	.ci/fuzz 30s

proofs: tools ## the long proofs: exactness, crashes, disk faults, churn
	cd test && RINGSIDE_PROOFS=1 go test -timeout 40m ./...

bench: build tools ## CPU, memory and drops beside tcpdump's, as in docs/performance.md
	cd test && go run ./bench

demo: tools ## redis traffic, a recorder, a trigger, and its packets from a local S3 server, in namespaces
	cd test && go run ./demo

image: ## container image ringside:VERSION
	docker build --build-arg VERSION=$(VERSION) -t ringside:$(VERSION) .

clean: ## remove what was built
	rm -rf bin
