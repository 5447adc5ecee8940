# `make demo` and `make test` need Python (3.9 to 3.15), a C compiler and make; everything else they set up themselves, in .venv
PYTHON ?= python3
VENV   ?= .venv
PY      = $(VENV)/bin/python
# tests wait more than they work: so many run side by side
JOBS   ?= 3
STAMP   = $(VENV)/.installed

.PHONY: demo test check matrix bench soak docs settings-doc events-doc cli-doc rules-doc troubleshooting-doc dist system databases debian-testing clean

demo: $(STAMP) system
	$(PY) -m lab

test: $(STAMP) system
	$(PY) -m pytest -n $(JOBS)

check: $(VENV)/.check
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -q -n $(JOBS) tests/unit

# every CPython at hand (pyenv's too, through its shims); what is not there is shown as skipped
matrix: $(VENV)/.check system
	PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | grep -E '^3\.(9|1[0-5])\.[0-9]+$$' | paste -sd:)" $(PY) -m nox $(if $(SESSIONS),-s $(SESSIONS))

bench: $(VENV)/.bench system
	$(PY) -m bench

# the long runs, one by name: `make soak threads.exits`; without a name, the list. Their results are kept in docs/measurements
soak: $(VENV)/.bench system
	$(PY) -m bench $(or $(filter-out soak,$(MAKECMDGOALS)),--list)

ifeq (soak,$(firstword $(MAKECMDGOALS)))
$(filter-out soak,$(MAKECMDGOALS)): soak
	@:
endif

docs: $(VENV)/.docs
	$(PY) -m tools.settings_doc --check docs/settings.md
	$(PY) -m tools.events_doc --check docs/events.md
	$(PY) -m tools.cli_doc --check docs/cli.md
	$(PY) -m tools.troubleshooting_doc --check docs/troubleshooting.md
	$(PY) -m tools.rules_doc --check
	$(PY) -m mkdocs build --strict

settings-doc: $(STAMP)
	$(PY) -m tools.settings_doc > docs/settings.md

events-doc: $(STAMP)
	$(PY) -m tools.events_doc > docs/events.md

troubleshooting-doc: $(STAMP)
	$(PY) -m tools.troubleshooting_doc > docs/troubleshooting.md

cli-doc: $(STAMP)
	$(PY) -m tools.cli_doc > .cli.md && mv .cli.md docs/cli.md

rules-doc: $(STAMP)
	$(PY) -m tools.rules_doc

# what is uploaded to PyPI, built twice to see that it is the same both times
dist: $(VENV)/.dist
	@rm -rf dist .dist-again
	$(PY) -m build -o dist > /dev/null
	$(PY) -m build -o .dist-again > /dev/null
	cd dist && for each in *; do cmp "$$each" "../.dist-again/$$each" || exit 1; done
	@rm -rf .dist-again
	$(PY) -m twine check --strict dist/*

# nginx and wrk from the distribution where that can be done; without them the parts that need them are shown as skipped
system:
	@sh tools/system-packages.sh

# PostgreSQL, MariaDB and MySQL, for the tests of DATABASE_TIMEOUT; without them those are shown as skipped
databases:
	@sh tools/databases.sh

# the unit tests on the CPythons of Debian testing (3.14, 3.15), in a chroot; takes root and debootstrap, and skips without
debian-testing:
	@sh tools/debian-testing.sh $(or $(DEBIAN_TESTING),.debian-testing) $(PYTEST)

$(PY):
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q --upgrade pip setuptools wheel

$(STAMP): pyproject.toml | $(PY)
	$(PY) -m pip install -q -e '.[test]'
	@touch $@

$(VENV)/.check: $(STAMP)
	$(PY) -m pip install -q -e '.[test,check]'
	@touch $@

$(VENV)/.bench: $(STAMP)
	$(PY) -m pip install -q -e '.[bench]'
	@touch $@

$(VENV)/.dist: $(STAMP)
	$(PY) -m pip install -q -e '.[release]'
	@touch $@

$(VENV)/.docs: $(STAMP)
	$(PY) -m pip install -q -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) .mysql .debian-testing .dist-again build dist site lab/report bench/results
