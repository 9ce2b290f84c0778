# Two commands do all the set-up on a fresh machine with Python 3.10 or newer:
#   make demo    predict with the shipped model, then train, evaluate and export a small one from the shipped pictures
#   make test    the test suite
#   make cpp     the C++ command, build/cpp/tinysight-cpp, and what it needs
PYTHON ?= python3
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES = pyproject.toml $(shell find src -type f -not -name '*.pyc')
export PYTHONPATH =

.PHONY: demo test test-all browser cpp cpp-tested check bench format clean
.DEFAULT_GOAL = demo

# Everything: training, tests, linters.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@echo "installing tinysight with its training and development extras into .venv ..."
	@.venv/bin/python $(PIP_INSTALL) -e '.[dev]'
	@touch $@

# What a user of a bundle has: the plain install, no torch.
.venv-base/ready: $(SOURCES) constraints.txt
	@test -d .venv-base || $(PYTHON) -m venv .venv-base
	@echo "installing plain tinysight, without torch, into .venv-base ..."
	@.venv-base/bin/python $(PIP_INSTALL) .
	@.venv-base/bin/python $(PIP_INSTALL) --force-reinstall --no-deps .
	@touch $@

demo: .venv/ready .venv-base/ready
	@.venv/bin/python examples/demo.py --base .venv-base/bin/tinysight

# One thread a process: two test processes on two cores would only fight over more.
test test-all: export OMP_NUM_THREADS = 1

# The report is tested in a real browser: Debian's, if there is none yet and it may be installed.
APT = $(if $(filter 0,$(shell id -u)),apt-get,sudo -n apt-get)
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || test -n "$$TINYSIGHT_CHROMIUM" || { \
		echo "installing Chromium for the test of the report ..."; \
		$(APT) install -y -qq chromium >/dev/null 2>&1 || \
		{ $(APT) update -qq && $(APT) install -y -qq chromium; } >/dev/null 2>&1 || \
		echo "Chromium cannot be installed here; the test of the report in a browser will be skipped"; }

test: .venv/ready .venv-base/ready browser cpp-tested
	TINYSIGHT_BASE_PYTHON=.venv-base/bin/python .venv/bin/python -m pytest -n 2 -m "not slow"

test-all: .venv/ready .venv-base/ready browser cpp-tested
	TINYSIGHT_BASE_PYTHON=.venv-base/bin/python .venv/bin/python -m pytest -n 2

cpp:
	PYTHON=$(PYTHON) clients/cpp/build.sh

# Both builds that the tests run. Where packages are missing and cannot be installed, or with CPP= ,
# the tests of it are skipped; code that does not compile fails.
CPP = build/cpp "--sanitize build/cpp-sanitized"
cpp-tested: .venv/ready
	@mkdir -p build
	@for options in $(CPP); do \
	  echo "building the C++ command: $$options ..."; \
	  PYTHON=.venv/bin/python clients/cpp/build.sh $$options > build/cpp.log 2>&1 && continue; \
	  code=$$?; cat build/cpp.log; [ $$code = 3 ] || exit 1; \
	done

check: .venv/ready
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

bench: .venv/ready .venv-base/ready
	.venv/bin/python benchmarks/predict.py --tinysight .venv-base/bin/tinysight

format: .venv/ready
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

clean:
	rm -rf .venv .venv-base build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
