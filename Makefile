# Every target is one habit; `.ci/run` is `check` and `test`.

# Parallel jobs of cargo; empty means as many as there are processors.
CARGO ?= cargo

.PHONY: help run test check chaos load bench docs setup

help: ## Lists the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

run: ## Installs what is missing, builds, and opens the playground
	@scripts/setup run
	@$(CARGO) build --quiet --package tenantry --package tenantry-chaos --bins
	@exec $(CARGO) run --quiet --package tenantry-chaos --bin tenantry-playground

test: ## Installs what is missing and runs every test
	@scripts/setup test
	@scripts/test

check: ## Formats, lints, documentation and advisories, all as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --workspace --no-deps --document-private-items --quiet
	scripts/advisories

chaos: ## Kills, hangs and breaks what the server depends on
	@scripts/setup test
	@scripts/test chaos

load: ## Sends load to a server of its own and prints what it took
	$(CARGO) build --release --quiet --package tenantry --package tenantry-load --bins
	$(CARGO) run --release --quiet --package tenantry-load -- load

bench: ## Compares metered requests with a bare server's and with a counter in PostgreSQL
	@scripts/setup test
	$(CARGO) build --release --quiet --package tenantry --package tenantry-load --bins
	$(CARGO) run --release --quiet --package tenantry-load -- bench

docs: ## Builds the book into target/book
	@scripts/docs

setup: ## Installs everything that `run` and `test` need
	@scripts/setup test
