# Inverse Workbench. `make demo` and `make test` need python3 (3.11 or newer) and make, and nothing else.
#
# The first of them makes .venv; later runs start at once and need no network. On Linux PyPI's torch is the CUDA build
# (4.6 GB); without a GPU, `make demo PIP_ARGS="-i URL"` takes torch from the index that PyTorch's site gives
# for CPU builds.

PYTHON   ?= python3
VENV     ?= .venv
PIP_ARGS ?=
PY       := $(VENV)/bin/python
STAMP    := $(VENV)/.installed
ONE      := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST   := $(ONE) $(PY) -m pytest -q -rs -n 2

.PHONY: demo test test-all lint g2 tuned claims bench bench-peers notebooks lock clean

demo: $(STAMP)
	@echo "demo: a reconstruction with its uncertainty; one to two minutes on two cores; the files go to demo/"
	$(VENV)/bin/workbench demo

test: $(STAMP)
	@echo "test: the fast tests, a few minutes on two cores; every skip is listed at the end"
	$(PYTEST) -m "not slow"

test-all: $(STAMP)
	@echo "test-all: every test, the slow ones too"
	$(PYTEST)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

g2: $(STAMP)
	@echo "g2: every sampler on a problem of two numbers, beside the values of an independent implementation; five minutes"
	$(VENV)/bin/workbench bench g2 --out runs/g2 --overwrite

tuned: $(STAMP)
	@echo "tuned: settings of samplers on problems that problems/settings lacks, on held-out seeds; about half an hour for all"
	$(ONE) $(PY) -m theory.scoreboard.tuned

# Goes on where it was; the committed run is in docs/scoreboard.
scoreboard: $(STAMP)
	@echo "scoreboard: every sampler beside exact posteriors, ten seeds; hours on one core, page and table from what is there"
	$(VENV)/bin/workbench bench exact --out runs/scoreboard --split --curves --page runs/scoreboard

# Those that train a network (B5, D4, H7) run by name: docs/evidence.
claims: $(STAMP)
	@echo "claims: every claim up to tier 2 and its controls, and the page docs/claims.md; five minutes"
	$(ONE) $(VENV)/bin/workbench verify --tier 2 --page docs

bench: $(STAMP)
	@echo "bench: our parts beside others' for the same work, 1 thread and all; ten to fifteen minutes; a quiet machine, please"
	$(VENV)/bin/workbench bench --out runs/bench --overwrite

# The same beside deepinv, torchkbnufft, finufft and ASTRA (GPL, and 0.4 GB of CUDA libraries), in an environment of its own.
bench-peers: $(STAMP)
	@echo "bench-peers: makes .boot/peers with the packages to compare with, then measures; a quiet machine, please"
	@test -x .boot/peers/bin/python || $(PYTHON) -m venv .boot/peers
	@.boot/peers/bin/python -m pip install -qq -c constraints.txt $(PIP_ARGS) torch
	@.boot/peers/bin/python -m pip install -qq -c constraints.txt $(PIP_ARGS) -e . scikit-image deepinv torchkbnufft finufft astra-toolbox
	.boot/peers/bin/workbench bench --out runs/bench-peers --overwrite

# Runs every notebook at its full size and keeps the figures in it.
notebooks: $(STAMP)
	$(VENV)/bin/jupyter execute --inplace notebooks/*.ipynb
	$(PY) .ci/lighten.py notebooks/*.ipynb

# torch comes first and alone, so that pip picks the CPU wheel where one is offered.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is older or missing; make ... PYTHON=/path/to/python3"; exit 1; }
	@echo "set-up: makes $(VENV) with torch and the rest; about 2 GB and 2 to 3 minutes, this once"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV) .boot; \
	  $(PYTHON) -m pip install -qq --target .boot virtualenv && \
	  PYTHONPATH=.boot $(PYTHON) -m virtualenv -q $(VENV); }
	@echo "set-up: 1 of 2, torch"
	@$(PY) -m pip install -qq -c constraints.txt $(PIP_ARGS) torch
	@echo "set-up: 2 of 2, the workbench and what its tests and notebooks use"
	@$(PY) -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $@

# New pins: the newest release of everything but torch, whose pin is edited by hand. Run on Linux with Python 3.11.
lock:
	rm -rf .boot/lock && $(PYTHON) -m venv .boot/lock
	grep '^torch==' constraints.txt > .boot/torch.txt
	.boot/lock/bin/python -m pip install -qq -c .boot/torch.txt $(PIP_ARGS) torch
	.boot/lock/bin/python -m pip install -qq -c .boot/torch.txt -e '.[dev,cluster,gpu]'
	grep '^#' constraints.txt > .boot/new.txt
	.boot/lock/bin/python -m pip freeze --exclude-editable | sed 's/+.*//' | grep == >> .boot/new.txt
	mv .boot/new.txt constraints.txt && rm -rf .boot/lock

clean:
	rm -rf $(VENV) .boot .pytest_cache .ruff_cache build dist
