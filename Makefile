# make serve   everything that a fresh machine needs, then the server at 127.0.0.1:8080; ARGS="--port 8090"
# make test    all tests that need no GPU
# make bench   the limit of this machine, detserve, and a plain handler, side by side
# make check   formatter, linter, type checker

VENV := .venv
PYTHON := $(VENV)/bin/python
# What goes into an archive, or decides about it.
CODE := $(shell find detserve handlers -name '*.py' -not -path '*/bench/*' -not -path '*/client/*' -not -path '*/serving/*')

.PHONY: serve test check format bench clean

serve: $(VENV)/.serve model_store/fd1.mar model_store/td1.mar model_store/ocr1.mar
	@exec $(PYTHON) serve.py $(ARGS)

test: $(VENV)/.dev
	$(PYTHON) -m pytest $(ARGS)

bench: $(VENV)/.dev model_store/fd1.mar
	$(PYTHON) -m benchmarks.compare $(ARGS)

check: $(VENV)/.dev
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

format: $(VENV)/.dev
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

model_store/%.mar: config/%.yaml $(CODE) repack.py | $(VENV)/.serve
	$(PYTHON) repack.py $*

$(VENV)/.serve: requirements/install.sh $(wildcard requirements/*.txt)
	requirements/install.sh $(abspath $(VENV))
	@touch $@

$(VENV)/.dev: $(VENV)/.serve
	requirements/install.sh $(abspath $(VENV)) dev
	@touch $@

clean:
	rm -rf run model_store/*.mar
