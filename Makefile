# make demo    install what training needs, train on the embedded data and show the result
# make test    the fast tests; make test-all adds the slow ones; these and what follows install the tools for it
# make oldest  the fast tests with the oldest versions that pyproject.toml allows, in an environment of their own
# make format  format the code and mend what the linter can
# make check   format, lint, types, import contracts
# make bench   the benchmarks of one process, into benchmarks/results; make bench-remote those of several,
#              make bench-neighbour what a busy program beside a training costs, make bench-flower sglr beside Flower,
#              make bench-page writes docs/results/speed.md from what they found,
#              make bench-gpu those for a GPU (its tests: python -m pytest -m gpu)
# make docs    the documentation as a site, into build/site/site
# make chaos   1,000 faults done to trainings between sites, beside the same in peace: what is lost? (an hour)
# make clean   remove the environment and caches; runs stay

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools
WRITERS := $(VENV)/.writers
FLOWER := .venv-flower
OLDEST := .venv-oldest

.PHONY: demo test test-all oldest format check docs bench bench-neighbour bench-remote bench-flower bench-page bench-gpu chaos clean
.DEFAULT_GOAL := demo

demo: $(INSTALLED)
	$(BIN)/sglr train --dataset digits --clients 10 --threads 1

# Tests run side by side: more threads in each would only wait for one another.
test test-all oldest: export OMP_NUM_THREADS = 1
# Tests start hundreds of processes, of which each would compile torch anew where an environment forbids to keep that.
test test-all oldest: export PYTHONDONTWRITEBYTECODE =
# Each worker begins with tests that lie together and share fixtures, and takes from the other's end once it is done.
SIDE_BY_SIDE := -n auto --dist worksteal
PYTEST := $(BIN)/python -m pytest $(SIDE_BY_SIDE)

test: $(TOOLS)
	$(PYTEST) -m "not slow"

test-all: $(TOOLS)
	$(PYTEST)

# Old versions warn of what is newer than they are: only here is a warning no error.
oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(SIDE_BY_SIDE) -m "not slow" -o filterwarnings=ignore

format: $(TOOLS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(TOOLS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(TOOLS)
	$(BIN)/python benchmarks/throughput.py --write
	$(BIN)/python benchmarks/plot_scaling.py
	$(BIN)/python benchmarks/convolutions.py --write
	$(BIN)/python benchmarks/evaluation.py --samples 2000 --write
	$(BIN)/python benchmarks/memory.py --write
	$(BIN)/python benchmarks/memory_curve.py --write
	$(BIN)/python benchmarks/large_stack.py --write
	$(BIN)/python benchmarks/startup.py --write
	$(BIN)/python benchmarks/method_steps.py --write
	$(BIN)/python benchmarks/time_to_accuracy.py --write
	$(BIN)/python benchmarks/population.py --repeats 1 --rounds 8 --write

bench-neighbour: $(TOOLS)
	$(BIN)/python benchmarks/neighbour.py --write

bench-remote: $(TOOLS)
	$(BIN)/python benchmarks/remote.py --write
	$(BIN)/python benchmarks/remote_training.py --write
	$(BIN)/python benchmarks/link_steps.py --write
	$(BIN)/python benchmarks/clock_against_link.py --write
	$(BIN)/python benchmarks/clock_cost.py --write
	$(BIN)/python benchmarks/many_clients.py --write
	$(BIN)/python benchmarks/leakage_measures.py --write
	$(BIN)/python benchmarks/leakage_callback.py --rounds 5 --epochs 1 --write
	$(BIN)/python benchmarks/cluster.py --write
	$(BIN)/python benchmarks/split_prediction.py --write

bench-flower: $(TOOLS) $(FLOWER)/.installed
	$(BIN)/python benchmarks/flower.py --flower-python $(FLOWER)/bin/python --write

bench-page: $(TOOLS)
	$(BIN)/python benchmarks/speed_page.py

bench-gpu: $(TOOLS)
	$(BIN)/python benchmarks/throughput.py --device cuda --seconds 4 --limit 20 --write
	$(BIN)/python benchmarks/convolutions.py --device cuda --write
	$(BIN)/python benchmarks/table2_gpu.py --minutes 2 --write

docs: $(WRITERS)
	$(BIN)/python docs/building build/site
	@echo "open build/site/site/index.html"

chaos: $(TOOLS)
	$(BIN)/python -m benchmarks.chaos --faults 1000 --jobs 2 --out chaos.json --keep chaos-lost

# Compiling all of torch's modules takes longer than all else; those that are used are compiled when they are imported.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is missing or older than 3.11; name another: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(TOOLS): $(INSTALLED)
	$(BIN)/python -m pip install --no-compile --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# Flower pins other versions of what sglr uses: it has an environment of its own, with sglr's torch.
$(FLOWER)/.installed: benchmarks/beside/flower-requirements.txt
	$(PYTHON) -m venv $(FLOWER)
	$(FLOWER)/bin/python -m pip install --no-compile --disable-pip-version-check -r $<
	@touch $@

$(OLDEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --no-compile --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip install --python $(OLDEST)/bin/python --resolution lowest-direct -e ".[dev]"
	@touch $@

$(WRITERS): $(INSTALLED)
	$(BIN)/python -m pip install --no-compile --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) $(FLOWER) $(OLDEST) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
