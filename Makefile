# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# Every path is relative, so that a clone under a path with spaces works.
SHELL := /bin/sh
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check install --quiet --constraint constraints/pinned.txt
SOURCES := pyproject.toml constraints/pinned.txt

.PHONY: demo test lint kernels-as-python tutorials lowest compat bench clean

demo: $(VENV)/.installed
	$(RUN) -m cellsigil demo --out demo-results --overwrite
	@echo "Open this file in a browser: demo-results/report.html"

test: $(VENV)/.tested
	$(RUN) -m pytest -n 2 --dist worksteal

lint: $(VENV)/.dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -c "import sys; from importlinter.cli import lint_imports_command as lint; sys.exit(lint())"
	$(RUN) -m mypy

# Kernels run as plain Python: what numba compiles must also be right where it does not compile.
kernels-as-python: $(VENV)/.tested
	NUMBA_DISABLE_JIT=1 $(RUN) -m pytest -n 2 tests -k "_core or test_matrix or naive or means"

tutorials: $(VENV)/.tested
	$(RUN) tutorials/execute.py

lowest: $(VENV)-lowest/.tested
	$(VENV)-lowest/bin/python -m pytest -n 2 --dist worksteal

# What io.write(compat=True) writes, read by a real anndata 0.10.
compat: $(VENV)/.tested $(VENV)-anndata010/.installed
	CELLSIGIL_ANNDATA010_PYTHON="$(CURDIR)/$(VENV)-anndata010/bin/python" \
	  $(RUN) -m pytest tests/io tests/test_signature.py -k anndata_0_10

# Every benchmark against every rival, about four hours on a quiet machine; writes benchmarks/RESULTS.md and growth.png.
# DATA is the folder of real data; what was made lies in $CELLSIGIL_BENCH_CACHE, else in the temporary folder.
DATA := ../shared/data
BENCHES := qc normalize hvg pca neighbors leiden layout markers scores files threads agreement preset memory held cold_start growth
bench: $(VENV)-bench/.installed
	@for name in $(BENCHES); do \
	  echo "== $$name"; LOGURU_LEVEL=ERROR $(VENV)-bench/bin/python -W ignore "benchmarks/$$name.py" "$(DATA)" || exit 1; \
	done
	$(VENV)-bench/bin/python benchmarks/results.py

clean:
	rm -rf $(VENV) $(VENV)-bench $(VENV)-lowest $(VENV)-anndata010 demo-results

$(VENV)/.installed: $(SOURCES)
	@sh .ci/environment $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(PIP) --editable ".[scale,loom]" --group test
	@touch $@

$(VENV)/.dev: $(VENV)/.tested
	$(PIP) --group dev
	@touch $@

$(VENV)-anndata010/.installed: constraints/anndata-0.10.txt
	@sh .ci/environment $(VENV)-anndata010
	$(VENV)-anndata010/bin/python -m pip --disable-pip-version-check install --quiet \
	  --requirement constraints/anndata-0.10.txt
	@touch $@

$(VENV)-lowest/.tested: pyproject.toml constraints/lowest.txt
	@sh .ci/environment $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip --disable-pip-version-check install --quiet \
	  --constraint constraints/lowest.txt --editable ".[scale,loom]" --group test
	@touch $@

$(VENV)-bench/.installed: $(SOURCES)
	@sh .ci/environment $(VENV)-bench
	$(VENV)-bench/bin/python -m pip --disable-pip-version-check install --quiet \
	  --constraint constraints/pinned.txt --editable . --group bench
	@touch $@
