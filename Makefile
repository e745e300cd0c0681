# `make demo` and `make test` install what they need; each says what.
PYTHON = .venv/bin/python

.PHONY: demo test check fuzz bench clean
SECONDS = 60

demo:  ## five hosts on this machine, meshed with one command (root)
	@scripts/setup demo
	@scripts/demo

test:  ## everything: linters, types, fast tests, hosts in namespaces (root)
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	@scripts/beside .cache/emulated.log $(PYTHON) -m pytest -p no:cacheprovider tests/emulated \
	    -- $(PYTHON) -m pytest -m "lab or slow" --ignore tests/emulated

check:  ## linters, types, fast tests
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -m "not lab and not slow"

fuzz:  ## feeds nonsense to whatever reads from outside, SECONDS each; keeps what was new
	@scripts/setup test
	$(PYTHON) -m tests.fuzz $(SECONDS) $(TARGETS)

bench:  ## our userspace tunnel beside wireguard-go, in one run; OPTIONS=--help tells what else (root)
	@scripts/setup test
	$(PYTHON) -m tests.bench $(OPTIONS)

clean:  ## takes the lab and everything that was built away
	@if [ -d inventories/.fleet/lab ] && [ "$$(id -u)" != 0 ]; then \
	    echo "make clean needs root: a lab may be up. Run: sudo make clean" >&2; exit 1; fi
	@if [ -x .venv/bin/fleet ] && [ "$$(id -u)" = 0 ]; then .venv/bin/fleet lab down inventories/lab.yml; fi
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
