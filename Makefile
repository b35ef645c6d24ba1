.DEFAULT_GOAL := help
PYTHON ?= python3
PYTEST ?= .venv/bin/python -m pytest
TEST_PACKAGES = openssl=openssl iptables=iptables patch=patch systemd=systemd-analyze

.PHONY: help setup setup-tests demo test check golden

help: ## say what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install what is missing: Debian packages (as root), .venv with nftsvc in it
	@scripts/setup $(PYTHON)

demo: setup ## a small cluster of network namespaces with real traffic (as root)
	@.venv/bin/nftsvc demo

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
