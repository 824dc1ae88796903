# Every command that developers and CI run. `make help` lists them.
PYTHON3 ?= python3
VENV ?= .venv
# `make UV= …` installs with pip alone; it is also what happens where uv cannot be installed.
UV ?= uv
PYTHON := $(VENV)/bin/python
# `make SOURCES=1 …` builds packages that have no wheel for this machine, such as an Intel Mac.
SOURCES ?=
INSTALL := $(PYTHON3) tools/install.py $(if $(UV),,--no-uv) $(if $(SOURCES),--sources)

.DEFAULT_GOAL := help
.PHONY: help install install-dev run demo serve test test-slow coverage test-python test-clients test-compat test-environments test-ray test-zoo soak compose-test wheel try-wheel up check format lock upgrade sbom audit bench bench-peers bench-micro env.template clean screenshots

help: ## list the commands
	@grep -hE '^[a-z][a-z.-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: ## make .venv with what running takes
	@$(INSTALL) requirements.lock --superset requirements-dev.lock --venv $(VENV)

install-dev: ## make .venv with what developing takes
	@$(INSTALL) requirements-dev.lock --venv $(VENV)

run: install ## start the demo: an MLflow server with example models, and the gateway in front; ARGS="--nodes 2"
	@exec $(VENV)/bin/gateway demo $(ARGS)

serve: install ## serve the models of the MLflow server that MLFLOW_TRACKING_URI names
	@exec $(VENV)/bin/gateway serve

# Each test belongs to one of these sets. WORKERS is how many processes of pytest-xdist run at once.
OTHERS := not clients and not compat and not environments and not ray and not zoo
FAST := not slow and not serial and $(OTHERS)
FAST_SERIAL := serial and not slow and $(OTHERS)
SLOW := slow and not serial and $(OTHERS)
SLOW_SERIAL := slow and serial and $(OTHERS)
WORKERS ?= 4
PARALLEL := -n $(WORKERS) --dist worksteal

test: install-dev ## run the tests, all but the slow ones; ARGS="-k demo -x" goes to pytest
	$(PYTHON) -m pytest -m "$(FAST)" $(PARALLEL) $(ARGS)
	$(PYTHON) -m pytest -m "$(FAST_SERIAL)" $(ARGS)

test-slow: install-dev ## run the tests that take five seconds or more
	$(PYTHON) -m pytest -m "$(SLOW)" $(PARALLEL) $(ARGS)
	$(PYTHON) -m pytest -m "$(SLOW_SERIAL)" $(ARGS)

# Without the tests of whole processes, which measure little more and take long.
COVERED := tests/workers tests/gateway --ignore tests/gateway/cli/demo
coverage: install-dev ## run the fast tests of single rooms with line and branch coverage; fails below 90 %
	rm -f .coverage .coverage.*
	$(PYTHON) -m coverage run -m pytest -m "$(FAST)" $(PARALLEL) $(COVERED) $(ARGS)
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report

test-python: install-dev ## run the tests that depend on the Python version; PYTHON3=python3.12 VENV=.venv-3.12
	$(PYTHON) -m pytest -m "$(FAST)" $(PARALLEL) tests/workers/codec tests/workers/runtime tests/gateway/api $(ARGS)

test-clients: install-dev ## run clients and OpenAPI tools of others against the gateway, in .venv-clients and .venv-openapi
	@$(INSTALL) requirements-clients.lock --venv .venv-clients --no-project
	@$(INSTALL) requirements-openapi.lock --venv .venv-openapi --no-project
	GATEWAY_TEST_CLIENTS_PYTHON=$(CURDIR)/.venv-clients/bin/python \
	GATEWAY_TEST_OPENAPI_PYTHON=$(CURDIR)/.venv-openapi/bin/python $(PYTHON) -m pytest -m clients $(ARGS)

test-compat: install-dev ## run the tests that need an MLflow 2 server, in .venv-mlflow2
	@$(INSTALL) requirements-mlflow2.lock --venv .venv-mlflow2 --no-project
	GATEWAY_TEST_MLFLOW2_PYTHON=$(CURDIR)/.venv-mlflow2/bin/python $(PYTHON) -m pytest -m compat $(ARGS)

test-environments: install-dev ## serve models of other Pythons, MLflows and libraries, each from its own environment
	$(PYTHON) -m tests.environments.made
	$(PYTHON) -m pytest tests/environments -m environments $(ARGS)

test-ray: install-dev ## keep node agents on a real Ray cluster, whose Ray is in .venv-ray
	@$(INSTALL) requirements-ray.lock --venv .venv-ray --no-project
	GATEWAY_TEST_RAY_PYTHON=$(CURDIR)/.venv-ray/bin/python $(PYTHON) -m pytest tests/ray -m ray $(ARGS)

soak: install-dev ## load and faults for ten minutes, every answer checked; ARGS="--fleet --minutes 30"
	$(PYTHON) -m tests.soak $(ARGS)

compose-test: ## build the images, run the compose file for real and use it; needs a Docker engine
	$(PYTHON3) .ci/compose-test $(ARGS)

wheel: install-dev ## build dist/*.whl, and look whether every file of the packages is in it
	$(PYTHON) tools/wheel.py

try-wheel: install-dev ## build the wheel, and use the demo of it alone, as `uvx` or pip install it
	$(PYTHON) tools/wheel.py --try

COMPOSE ?= docker compose
up: ## write the secrets of docker-compose.yml into .env if they are not there, and start the stack
	@$(PYTHON3) tools/compose_secrets.py
	$(COMPOSE) up --build

test-zoo: ## hold a zoo of models against MLflow's own scoring server, in .venv-zoo
	@$(INSTALL) requirements-zoo.lock --venv .venv-zoo
	.venv-zoo/bin/python -m pytest tests/zoo -m zoo $(ARGS)

screenshots: install-dev ## make the pictures of docs/images from pages of real models; needs Chromium
	GATEWAY_TEST_SCREENSHOTS=$(CURDIR)/docs/images $(PYTHON) -m pytest tests/end_to_end/test_console_pictures.py

check: install-dev ## run every check that needs no test: style, types, imports, locks
	$(PYTHON) tools/locks.py
	$(PYTHON) tools/images.py
	$(PYTHON) tools/forbidden.py
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(VENV)/bin/lint-imports

format: install-dev ## put every file into the house's form
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

lock: install-dev ## resolve the lock files again that are out of date
	$(PYTHON) tools/locks.py --write

upgrade: install-dev ## resolve every lock file again, to the newest versions; then the images' digests
	$(PYTHON) tools/locks.py --upgrade
	$(PYTHON) tools/images.py --upgrade

DIST ?= dist
SBOM := .venv-audit/bin/python -W ignore::UserWarning -m cyclonedx_py requirements --output-reproducible $(VALIDATE)
sbom: ## write dist/*.cdx.json: what each image has of Python packages, in CycloneDX's format
	@$(INSTALL) requirements-audit.lock --venv .venv-audit --no-project
	@mkdir -p $(DIST)
	$(SBOM) --pyproject pyproject.toml --output-file $(DIST)/gateway.cdx.json requirements.lock
	$(SBOM) --output-file $(DIST)/mlflow-server.cdx.json requirements-mlflow-server.lock

audit: ## look up every locked version among known vulnerabilities; fails where these cannot be asked
	@$(INSTALL) requirements-audit.lock --venv .venv-audit --no-project
	.venv-audit/bin/python tools/audit.py $(ARGS)

bench: install-dev $(if $(findstring --against,$(ARGS)),,bench-peers) ## measure the gateway beside its peers; ARGS=--quick, or ARGS="--against REV"
	$(PYTHON) -m benchmarks $(ARGS)

bench-peers: # the environments of the peers, which `--against` does not measure
	@$(INSTALL) requirements-mlserver.lock --venv .venv-mlserver --no-project
	@$(INSTALL) requirements-litserve.lock --venv .venv-litserve --no-project

bench-micro: install-dev ## measure the codec and the batcher by themselves
	$(PYTHON) -m pytest benchmarks/micro -p pytest_benchmark.plugin --benchmark-only $(ARGS)

env.template: install-dev ## write env.template again from the settings
	$(PYTHON) -c 'from gateway.settings import describe; print(describe.env_template(), end="")' > $@

clean: ## remove what the other commands made, the demo's data too
	rm -rf .venv .venv-* build dist demo-data htmlcov .coverage .coverage.* .hypothesis
	rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
