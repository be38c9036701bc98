# One verb per thing a developer does; `make help` lists them. CI calls the same verbs (.ci/run).
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
STAGES := lint sanity unit simulation kubernetes integration molecule

# Ansible finds this collection under collections/, whatever the directory of the checkout is called.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/collections
export PATH := $(CURDIR)/$(BIN):$(PATH)
export LAB_NAME ?= cutover

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

.PHONY: demo
demo: setup-lab ## the main job under load, on a lab of real hosts; ends with a verdict
	@$(BIN)/python lab/demo.py

.PHONY: test
test: setup-lab ## everything below, in order, with times and one summary
	@$(BIN)/python scripts/stages.py $(STAGES)

.PHONY: lint
lint: setup ## ruff, mypy, yamllint, ansible-lint, documentation, argument specs, shell syntax
	ruff check .
	ruff format --check .
	scripts/mypy.sh
	yamllint --strict .
	ansible-lint --offline --strict --nocolor
	antsibull-docs lint-collection-docs --plugin-docs --disallow-unknown-collection-refs --skip-rstcheck .
	antsibull-changelog lint
	$(BIN)/python scripts/argument_specs.py
	$(BIN)/python scripts/inventory_docs.py --check
	bash -n $(shell git ls-files '*.sh' .ci/run)

.PHONY: sanity
sanity: setup ## ansible-test sanity, on a copy of the tracked files
	scripts/sanity.sh

.PHONY: unit
unit: setup ## unit tests, with the coverage they must reach
	scripts/unit.sh

.PHONY: simulation
simulation: setup ## that the gate's error is what it says, by thousands of simulated gates
	$(BIN)/python -m pytest tests/simulation --junit-xml=.build/results/simulation.xml

.PHONY: kubernetes
kubernetes: setup ## against a Kubernetes API server: KUBECONFIG's, envtest's, or that of the tests; the end says which
	$(BIN)/python -m pytest tests/kubernetes --numprocesses=2 --dist=loadfile --no-loadscope-reorder \
	    --verbose --durations=10 --junit-xml=.build/results/kubernetes.xml

# Labs of their own: the tests leave alone the one that somebody looks at.
.PHONY: integration
integration: export LAB_NAME := $(LAB_NAME)-integration
integration: setup-lab ## against the hosts of two labs, side by side
	$(BIN)/python -m pytest tests/integration --numprocesses=2 --dist=loadfile --no-loadscope-reorder \
	    --verbose --durations=10 --junit-xml=.build/results/integration.xml

.PHONY: molecule
molecule: export LAB_NAME := $(LAB_NAME)-molecule
molecule: setup-lab ## check, converge, idempotence, verify, per inventory
	scripts/molecule.sh

.PHONY: bench
bench: setup-lab ## benchmarks against peers; results with ratios in bench/results
	@$(BIN)/python bench/run.py

.PHONY: detection
detection: setup-lab ## how soon a green that begins to fail is left, beside the usual way; in bench/results
	@$(BIN)/python bench/detection.py

.PHONY: bench-state
bench-state: setup-lab ## what snapshots and restores cost, beside the servers' own tools; ONLY=redis: that alone
	@$(BIN)/python bench/state.py $(if $(ONLY),--only $(ONLY))

.PHONY: bench-clusters
bench-clusters: setup ## what a switch and a way back cost in a cluster, beside kubernetes.core.k8s; in bench/results
	@$(BIN)/python bench/clusters.py

.PHONY: lab-up
lab-up: setup-lab ## start the lab's hosts (LAB_NAME names another lab)
	@$(BIN)/python lab/lab.py up

.PHONY: lab-down
lab-down: ## stop them
	@python3 lab/lab.py down

.PHONY: build
build: setup ## the collection's tarball, in .build/
	ansible-galaxy collection build --force --output-path .build .

.PHONY: docs
docs: setup ## write docs/inventory.md anew from the plan's schema
	$(BIN)/python scripts/inventory_docs.py

.PHONY: lock
lock: ## write requirements.lock anew from requirements.in, with the newest versions
	scripts/lock.sh

.PHONY: clean
clean: ## remove what was made here (.venv stays; the lab's image too)
	rm -rf .build .cache .ansible .coverage .mypy_cache .ruff_cache .pytest_cache

.PHONY: setup
setup: # .venv from requirements.lock
	@scripts/setup.sh tools

.PHONY: setup-lab
setup-lab: # the same, and what the lab needs from Debian
	@scripts/setup.sh lab
