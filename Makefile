# Two commands do everything on a fresh machine: `make demo` and `make test`. They need Python 3.11+ and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: chaos demo kafka test test-docker lint bench bench-kafka soak-kafka lock clean

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

demo: $(VENV)/.installed
	$(BIN)/foreshock demo

# A real broker on 127.0.0.1 until Ctrl-C; `make kafka PORT=9192 FOLDER=other` for a second one, each in a folder of its
# own. Needs Java 17, and Maven the first time.
PORT   = 9092
FOLDER = foreshock-kafka
kafka: $(VENV)/.installed
	$(BIN)/python -m connectors.local_kafka --folder $(FOLDER) --port $(PORT)

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

# Needs a Docker engine with `docker compose` or docker-compose. The compose file for real, then one of the tests of Kafka
# on a broker in a container of its own.
test-docker: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -s --disable-warnings -m docker tests/docker $(PYTEST_ARGS)
	FORESHOCK_TEST_DOCKER=1 $(BIN)/python -m pytest --disable-warnings tests/connectors/test_kafka_log.py $(PYTEST_ARGS)

# Long campaigns on a real broker: every line once through a dozen disturbances, the same answers with 1, 2 and 4 workers.
chaos: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m chaos -v --timeout 3600 $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

# The peers have an environment of their own: quix-streams needs other versions of what the product uses, too.
# --no-deps: the lock is complete, and pip refuses hashes for a package that another wants with extras.
$(VENV)-bench/.installed: requirements-bench.lock
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-bench.lock
	touch $@

# Needs Java 17, and Maven the first time. Two cores: the broker on one, each contender on the other.
bench-kafka: $(VENV)/.installed-dev $(VENV)-bench/.installed
	BENCH_PYTHON=$(VENV)-bench/bin/python $(BIN)/python -m benchmarks.kafka $(BENCH_ARGS)

# A day of event time through all roles, about an hour; needs Java 17, and Maven the first time. SOAK_ARGS="--hours 2
# --warm-hours 1" is a short one, too short to judge by: states still grow.
soak-kafka: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.kafka.soak $(SOAK_ARGS)

# Needs uv (pip install uv). The lock names exact versions and hashes, and no index.
LOCK := uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11
lock:
	$(LOCK) --extra build -o requirements.lock
	$(LOCK) --extra build --extra dev -o requirements-dev.lock
	$(LOCK) --extra build --extra bench -o requirements-bench.lock

clean:
	rm -rf $(VENV) $(VENV)-bench build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
