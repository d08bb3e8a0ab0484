# make serve     everything that a fresh machine needs, then the server at 127.0.0.1:8080; ARGS="--port 8090"
# make demo      a page to try it at 127.0.0.1:8088, with the server at :8080 or one of its own; ARGS="--url http://…"
# make test      what a change may break: the quick tests, within five minutes; ARGS="tests/core -k letterbox" for some
# make test-all  these and the slow ones, a quarter of an hour; with ARGS some of both
# make test-slow what test-all has beyond test
# make chaos     all faults at full length: half an hour, ten minutes of soak among them
# make bench     the limit of this machine, detserve, and a plain handler, side by side
# make check     formatter, linter, type checker
# make audit     known holes in what is installed; asks the package index for advisories

VENV := .venv
PYTHON := $(VENV)/bin/python
# What goes into an archive, and what makes it.
CODE := $(shell python3 detserve/archives/contents.py)

.PHONY: serve demo test test-slow test-all chaos check audit format bench clean

serve: $(VENV)/.serve model_store/fd1.mar model_store/td1.mar model_store/ocr1.mar
	@exec $(PYTHON) serve.py $(ARGS)

demo: $(VENV)/.demo $(if $(findstring --url,$(ARGS)),,model_store/fd1.mar model_store/td1.mar model_store/ocr1.mar)
	@exec $(PYTHON) -m detserve demo $(ARGS)

# Two processes for all but what measures time, which comes after it with no test beside it. With ARGS one for all.
define run-tests
$(PYTHON) -m pytest -m "$(1) and not timed" -n 2
$(PYTHON) -m pytest -m "$(1) and timed"
endef

test: $(VENV)/.dev
	$(if $(ARGS),$(PYTHON) -m pytest $(ARGS),$(call run-tests,not slow and not long))

test-slow: $(VENV)/.dev
	$(call run-tests,slow and not long)

test-all: $(VENV)/.dev
	$(if $(ARGS),$(PYTHON) -m pytest -m "not long" $(ARGS),$(MAKE) test test-slow)

chaos: $(VENV)/.dev
	$(PYTHON) -m pytest -m "chaos or long" -s $(ARGS)

bench: $(VENV)/.dev model_store/fd1.mar model_store/td1.mar model_store/ocr1.mar
	$(PYTHON) -m benchmarks.compare $(ARGS)

check: $(VENV)/.dev
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

audit: $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install -q -r requirements/audit.txt
	$(PYTHON) -m pip --disable-pip-version-check list --format=freeze | sed 's/+[a-z0-9.]*$$//' | \
	    $(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r /dev/stdin

format: $(VENV)/.dev
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

model_store/%.mar: config/%.yaml $(CODE) | $(VENV)/.serve
	$(PYTHON) repack.py $*

$(VENV)/.serve: requirements/install.sh $(wildcard requirements/*.txt)
	requirements/install.sh $(abspath $(VENV))
	@touch $@

$(VENV)/.demo: $(VENV)/.serve
	requirements/install.sh $(abspath $(VENV)) demo
	@touch $@

$(VENV)/.dev: $(VENV)/.serve
	requirements/install.sh $(abspath $(VENV)) dev
	@touch $@

clean:
	rm -rf run model_store/*.mar model_store/*.mar.sha256 build *.egg-info
