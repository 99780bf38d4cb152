# The front door: `make help` lists the targets. What makes a file is a file target, so that nothing fresh is made again.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP_INSTALL = $(PY) -m pip install --disable-pip-version-check --constraint constraints.txt
# Where torch comes from. Plain indexes carry the CUDA build (gigabytes): on a machine without a GPU name PyTorch's CPU index
# here, and pip prefers its 2.x+cpu build of the pinned version.
TORCH_INDEX_URL ?=
# actionlint on the PATH, or the build of it that PyPI has as a wheel (a fork: the original is in no package index).
ACTIONLINT = $(or $(shell command -v actionlint),$(VENV)/bin/actionlint)
PROFILE ?= quick
HOST ?=
TARGET_MS ?= 5
WORKERS ?= 2
RESUME ?=
OVERLAY ?= local
# Of a vCPU for an hour, for the cost of a million answers; and the requests per second that slo plans replicas for.
PRICE ?=
RATE ?=
export PROFILE KUBECONFIG OVERLAY BUILDER TORCH_INDEX_URL PRICE RATE
ARTIFACTS_DIR ?= artifacts
# Whose artifacts: the MNIST twins, or a model that `python -m export import` took in. Each has a workspace of its own.
MODEL ?= mnist
export ARTIFACTS_DIR MODEL

DATA := $(ARTIFACTS_DIR)/data/.complete
MODELS := $(ARTIFACTS_DIR)/mnist/models

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Or make would take the manifests for intermediate files and remove them.
.SECONDARY:
.PHONY: help install compare test data train export serve-all smoke loadtest locust report slo conformance crosscheck \
	client-speed gate equal-work bench-servers bench-faults bench-mixing bench-head-of-line compare-training \
	train-distributed images test-k8s protos lint typecheck coverage check clean distclean

##@ The main job
help: ## List the targets.
	@awk -F ':.*## ' '/^##@/ {print "\n" substr($$0, 5)} /^[a-zA-Z0-9_%-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.complete ## Make .venv with every package, pinned by constraints.txt.

$(VENV)/.complete: constraints.txt pyproject.toml
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing the packages pinned in constraints.txt (about two minutes the first time)" >&2
	@$(PIP_INSTALL) $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) $$(grep '^torch==' constraints.txt)
	@$(PY) -m pip install --disable-pip-version-check --no-deps --requirement constraints.txt \
		| grep --line-buffered -E '^(Collecting|Installing)'; exit $${PIPESTATUS[0]}
	@$(PY) -m pip check
	@touch $@

compare: export ## The main job: export, serve, load-test, report (PROFILE=smoke|quick|full, MODEL=, PRICE=).
	@COMMAND="make compare PROFILE=$(PROFILE)$(if $(filter-out mnist,$(MODEL)), MODEL=$(MODEL))" $(PY) -m loadtest --profile $(PROFILE)
	@$(PY) -m loadtest report

test: install export ## Install what is needed and run the tests.
	@$(PY) -m pytest $(PYTEST_ARGS)

##@ One stage, or one of its products
data: $(DATA) ## Fetch MNIST and check its SHA-256.

$(DATA): | install
	@$(PY) -m training.mnist
	@touch $@

train: train-tensorflow train-pytorch ## Train both twins.

train-%: $(MODELS)/%/manifest.json ; ## Train one twin: train-tensorflow, train-pytorch.

$(MODELS)/%/manifest.json: $(DATA) training/train_%.py training/hyperparameters.py training/mnist.py
	@$(PY) -m training.train_$*

export: $(if $(filter mnist,$(MODEL)),train,install) ## Export to every format; only what passes the parity gate is written.
	@$(PY) -m export

export-%: install ## Export one artifact: export-pytorch-onnx.
	@$(if $(filter mnist,$(MODEL)),$(MAKE) --no-print-directory train-$(firstword $(subst -, ,$*)))
	@$(PY) -m export $*

##@ Servers
serve-all: install ## Start every server, print its endpoints, restart what dies; Ctrl-C stops them.
	@exec $(PY) -m serving up

serve-%: install ## Start one server: serve-onnxruntime, serve-tflite, serve-tfserving, serve-torchserve.
	@exec $(PY) -m serving up $*

smoke: install ## Send one checked prediction to every running endpoint.
	@$(PY) -m serving smoke

##@ The load test and the report
loadtest: export ## The load test alone; HOST= measures servers that run elsewhere, RESUME= continues a comparison.
	@$(PY) -m loadtest --profile $(PROFILE) $(if $(HOST),--host $(HOST)) $(if $(RESUME),--resume $(RESUME))

loadtest-%: export ## The load test of one server: loadtest-tfserving.
	@$(PY) -m loadtest --profile $(PROFILE) --servers $* $(if $(HOST),--host $(HOST))

locust: install ## Locust's own web page against the servers that are up, on http://127.0.0.1:8089.
	@exec $(VENV)/bin/locust -f loadtest/locustfile.py --web-host 127.0.0.1 $(LOCUST_ARGS)

report: install ## Write the report again from the results.
	@$(PY) -m loadtest report

slo: export ## The highest open-loop rate of each endpoint whose p99 stays under TARGET_MS=; RATE= plans replicas.
	@$(PY) -m loadtest slo --target-ms $(TARGET_MS) $(SLO_ARGS)

##@ Is it right? The instrument and the servers, tested and benchmarked
conformance: export ## Start each server and put the protocol cases to it; the report shows the matrix.
	@$(PY) -m serving conformance --start || test $$? = 1  # 1: a server fails a MUST, which is a finding

crosscheck: export ## Compare the load test with itself, MLPerf LoadGen and wrk; writes docs/benchmarks/crosscheck.*.
	@$(PIP_INSTALL) --quiet mlcommons-loadgen==6.0.17
	@$(PY) -m loadtest crosscheck --profile $(PROFILE)

client-speed: export ## The generator beside a plain FastHttpUser loop.
	@$(PY) -m loadtest client-speed

gate: install ## Compare two results for CI: BASELINE= CANDIDATE= MAX=10%; 1 on a significant regression.
	@$(PY) -m loadtest gate --baseline $(BASELINE) --candidate $(CANDIDATE) --max-regression $(or $(MAX),10%)

equal-work: export ## Repeat the well-known mistake of unequal payloads; writes docs/equal_work.md.
	@$(PY) -m loadtest equal-work

bench-servers: export ## Our servers beside others and beside the least code that can do it; writes docs/benchmarks/servers.*.
	@$(PY) -m loadtest bench

bench-faults: export ## Our servers under load while versions change, queues fill, workers die; writes docs/benchmarks/faults.json.
	@$(PY) -m loadtest faults

bench-mixing: install ## Are requests of different clients ever mixed up? Writes docs/benchmarks/mixing.*.
	@$(PY) -m loadtest mixing

bench-head-of-line: install ## How long health checks wait for somebody else's large request or slow model.
	@$(PY) -m loadtest head-of-line

##@ Training
compare-training: $(DATA) ## Every execution mode of both twins over rounds; writes docs/benchmarks/training.json.
	@$(PY) -m training.compare

train-distributed: train-distributed-tensorflow train-distributed-pytorch ## Both twins on WORKERS=2 processes; RESUME=1 goes on.

train-distributed-%: $(DATA)
	@$(PY) -m training.distributed $* --workers $(WORKERS) $(if $(RESUME),--resume)

##@ Containers and Kubernetes
images: export ## Build the images with podman or docker, whichever is there.
	@$(PY) -m k8s images

k8s-%: install ## On the cluster that KUBECONFIG names, with OVERLAY=: k8s-{render,deploy,status,loadtest,train,delete}.
	@$(PY) -m k8s $* --overlay $(OVERLAY)

test-k8s: export ## The end-to-end test on a real cluster.
	@rm -f $(ARTIFACTS_DIR)/k8s/end_to_end.json
	@$(PY) -m pytest tests/k8s -m cluster

##@ Development
protos: ## Compile serving/protos/*.proto again; needs grpcio-tools.
	@cd serving/protos && $(abspath $(PY)) -m grpc_tools.protoc -I. --descriptor_set_out=protos.desc *.proto

lint: install ## Check style, the folders' dependency rules and the CI workflow.
	@$(VENV)/bin/ruff check && $(VENV)/bin/ruff format --check
	@$(VENV)/bin/lint-imports
	@$(ACTIONLINT)

typecheck: install ## Check types.
	@$(VENV)/bin/mypy

coverage: install export ## Run the tests and show the lines that none of them runs.
	@$(PY) -m pytest --cov --cov-report=term-missing:skip-covered --cov-report=html:$(ARTIFACTS_DIR)/coverage $(PYTEST_ARGS)

check: lint typecheck test ## lint, typecheck and test.

clean: ## Remove what was made, but not the environment and the data.
	@find $(ARTIFACTS_DIR) -mindepth 1 -maxdepth 1 ! -name data -exec rm -rf {} + 2>/dev/null || true

distclean: ## Remove everything that git does not track.
	@rm -rf $(ARTIFACTS_DIR) $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
