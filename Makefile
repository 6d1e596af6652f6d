# The project's own chores. Everything is installed by scripts/bootstrap, also on a bare Debian machine.

LABS := /var/lib/failoverctl-lab

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench drill-matrix simulate build docs constraints clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## four real hosts, an estate on them, and two measured switchovers (root; the hosts stay up)
	@scripts/bootstrap --lab
	@scripts/demo

test: ## all checks, from linters to real hosts (root); only some: make test STAGES="lint unit"
	@scripts/bootstrap --tools --lab
	@.venv/bin/python scripts/test.py $(STAGES)

lint: ## style and types
	@scripts/bootstrap --tools
	@.venv/bin/python scripts/test.py lint

bench: ## the figures of docs/reference/benchmarks.md, measured on this machine (root); only some: make bench PARTS="switchover patroni"
	@scripts/bootstrap --tools --lab
	@.venv/bin/python -m bench $(PARTS)

simulate: ## one million schedules of faults against the agents, on all cores; go on later: make simulate FIRST=250000
	@scripts/bootstrap --tools
	@.venv/bin/python -m simulator --first $(or $(FIRST),0) --count $(or $(COUNT),1000000)

drill-matrix: ## every shipped drill on real hosts, three times each (root); later the rest: make drill-matrix GO_ON=1; more of each: MORE=1; as on real hosts: OVER_SSH=1; fewer: make drill-matrix RUNS=1 SCENARIOS="primary_power_loss"
	@scripts/bootstrap --tools --lab
	@.venv/bin/python -m bench.drills --runs $(or $(RUNS),3) $(if $(GO_ON),--go-on) $(if $(MORE),--more) $(if $(OVER_SSH),--over-ssh) $(SCENARIOS)

build: ## the wheel and the collection, in dist/
	@scripts/bootstrap --tools
	.venv/bin/python -m build --wheel --no-isolation --outdir dist
	.venv/bin/ansible-galaxy collection build --force --output-path dist

docs: ## write the generated pages of docs/reference
	@scripts/bootstrap --tools
	.venv/bin/python -m scripts.docs

constraints: ## the newest versions of everything, into constraints.txt
	@scripts/bootstrap --tools
	.venv/bin/python -m venv --clear .cache/newest
	.cache/newest/bin/python -m pip install --quiet --upgrade pip
	.cache/newest/bin/python -m pip install --quiet --editable . --group dev
	{ echo '# What tests run with. Written by `make constraints`.'; \
	  .cache/newest/bin/python -m pip freeze --all --exclude-editable --exclude setuptools; } > constraints.txt

clean: ## take the demo's hosts down, remove all that was made here, and the trees of labs if none is left
	@if [ -x .venv/bin/failoverctl ]; then .venv/bin/failoverctl lab down; fi
	rm -rf .ansible .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .venv build dist lab
	@if [ -z "$$(find $(LABS)/labs -mindepth 1 -maxdepth 1 -type d 2>&1)" ]; then rm -rf --one-file-system $(LABS); fi
