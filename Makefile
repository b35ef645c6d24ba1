.DEFAULT_GOAL := help
PYTHON ?= python3
PYTEST ?= .venv/bin/python -m pytest
TEST_PACKAGES = openssl=openssl iptables=iptables patch=patch systemd=systemd-analyze
BENCH_PACKAGES = iptables=iptables-nft-restore

.PHONY: help setup setup-tests setup-bench demo test check golden bench bench-quick

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install what is missing: Debian packages (as root), .venv with nftsvc in it
	@scripts/setup $(PYTHON)

demo: setup ## a small cluster of network namespaces with real traffic (as root)
	@.venv/bin/nftsvc demo

setup-bench:
	@scripts/setup $(PYTHON) $(BENCH_PACKAGES)

bench: setup-bench ## measure everything, side by side, into benchmarks/RESULTS.md; 15 minutes on an idle machine (as root)
	@.venv/bin/python -m benchmarks

bench-quick: setup-bench ## a part of that, in two minutes, into benchmarks/quick/ (as root)
	@.venv/bin/python -m benchmarks --quick

setup-tests:
	@scripts/setup $(PYTHON) $(TEST_PACKAGES)

test: setup-tests check ## every check and every test, kernel tests included (as root)
	$(PYTEST) --numprocesses 2 --dist worksteal

check: setup ## what needs no test run: formatting, lint, types, import contracts
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

golden: setup ## write the expected rulesets in examples/ again, as nftsvc golden update does; not in CI
	@.venv/bin/nftsvc golden update examples
	@.venv/bin/python scripts/golden
	@git --no-pager diff --stat -- examples
