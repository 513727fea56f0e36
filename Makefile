# `make` lists what there is to do. Nothing outside this folder is changed, but for the demo model's copy in the
# user's cache folder.

PYTHON ?= python3
VENV   ?= .venv
# A PyTorch that is already installed for PYTHON is used if it fits. Otherwise this one is installed from where pip
# looks. By default, on Linux and x86-64, that is a build with CUDA libraries of several gigabytes; only with an index
# or find-links of yours that has a CPU build is it a small one. One exact release, since pip prefers its CPU build
# (2.13.0+cpu) to the plain one, but not to a newer release. Or install a CPU build for PYTHON beforehand.
TORCH  ?= torch==2.13.0

PROBLEM ?= How can we stay healthy?
# The shell gets it as a variable, so quotes, dollars and backticks stay what they are.
override PROBLEM := $(value PROBLEM)
# A base model of this size repeats itself when it always takes the likeliest token.
SAMPLING ?= --temperature 0.7 --top-k 40 --repetition-penalty 1.1 --seed 1

BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
LINTERS := $(VENV)/.linters
SOURCES := pyproject.toml setup.py scripts/environment.sh $(shell find csrc -type f)
C_FILES  = $(or $(shell git ls-files '*.cpp' '*.h' '*.inl' '*.cu' '*.cuh'),$(error git lists no C++ sources here))

export PYTHON VENV TORCH PROBLEM

.PHONY: help demo test lint bench gpu gpu-build gpu-test gpu-sanitize gpu-bench gpu-decode clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): $(SOURCES)
	@scripts/environment.sh demo,test
	@touch $@

$(LINTERS): $(READY) pyproject.toml
	@scripts/environment.sh dev
	@touch $@

demo: $(READY)  ## two workers of a small real model write at the same time over one cache (PROBLEM="..." for yours)
	@$(BIN)/hogwild solve "$$PROBLEM" --model demo --workers 2 --max-forwards 64 $(SAMPLING)

test: $(READY)  ## run the tests (PYTEST_ARGS="..." for some of them)
	HOGWILD_TEST_REQUIRE=demo $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(LINTERS)  ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	$(BIN)/mypy

bench: $(READY)  ## measure on this machine's CPU; results go to bench/results
	$(BIN)/python bench/attention_cpu.py
	$(BIN)/python bench/decode_cpu.py
	$(BIN)/python bench/async_cpu.py

# --- on a machine with a GPU --------------------------------------------------------------------------------------
# With what PYTHON has installed, without an environment and without a network: PyTorch with CUDA, transformers,
# setuptools, ninja, pytest, hypothesis, and for the native programs nvcc and CMake.

IN_TREE   = PYTHONPATH=$(CURDIR):$(CURDIR)/python$(if $(PYTHONPATH),:$(PYTHONPATH))
GPU_ARCH ?= $(shell $(PYTHON) -c 'import torch; print(";".join(sorted({"%d.%d" % torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())})))')
GPU_NAME ?= $(shell PYTHONPATH=bench $(PYTHON) -c 'import results_io; print(results_io.device_slug("cuda"))')
COMMIT   ?= $(shell $(PYTHON) bench/measured_commit.py)
JOBS     ?= $(shell nproc)
SANITIZER ?= $(firstword $(shell command -v compute-sanitizer) $(wildcard $(CUDA_HOME)/bin/compute-sanitizer /usr/local/cuda/bin/compute-sanitizer))
NATIVE    = build/native

gpu: gpu-test gpu-bench gpu-sanitize  ## on a GPU machine: build with what is installed, test, measure into bench/results, sanitize

gpu-build:
	@$(PYTHON) -c 'import torch; assert torch.cuda.is_available()' || { echo "error: $(PYTHON) needs a PyTorch that sees a CUDA device" >&2; exit 1; }
	FORCE_CUDA=1 MAX_JOBS=$(JOBS) TORCH_CUDA_ARCH_LIST="$(GPU_ARCH)" $(PYTHON) setup.py --quiet build_ext --inplace
	cmake -S . -B $(NATIVE) -DHOGWILD_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$(subst .,,$(GPU_ARCH))"
	cmake --build $(NATIVE) --parallel $(JOBS)

gpu-test: gpu-build  ## the part of `make gpu` that tests
	ctest --test-dir $(NATIVE) --output-on-failure --exclude-regex emulated
	$(IN_TREE) HOGWILD_TEST_REQUIRE=cuda $(PYTHON) -m pytest -m cuda $(PYTEST_ARGS)

gpu-sanitize: gpu-build  ## the part of `make gpu` that looks for errors in memory and synchronisation
	@test -n "$(SANITIZER)" || { echo "error: found no compute-sanitizer; it is part of the CUDA toolkit (SANITIZER=... names one)" >&2; exit 1; }
	cmake --build $(NATIVE) --parallel $(JOBS) --target hogwild_racecheck_attention
	set -e; for tool in memcheck racecheck initcheck synccheck; do \
	    attention="hogwild_test_cuda_attention --quick"; \
	    if [ $$tool = racecheck ]; then attention="hogwild_racecheck_attention --sample 31"; fi; \
	    for program in hogwild_test_cuda_cache "$$attention"; do \
	        echo "$$tool: $$program"; \
	        "$(SANITIZER)" --tool $$tool --error-exitcode 1 $(NATIVE)/$$program; \
	    done; \
	done

gpu-bench: gpu-build  ## the part of `make gpu` that measures
	set -e; mkdir -p bench/results; results=bench/results/$(GPU_NAME); commit=$(COMMIT); \
	$(NATIVE)/hogwild_bench_cache --commit $$commit --json $$results-cache.json; \
	$(NATIVE)/hogwild_bench_attention --preset claims --commit $$commit --json $$results-attention.json; \
	$(NATIVE)/hogwild_bench_launch --commit $$commit --json $$results-launch.json; \
	$(IN_TREE) $(PYTHON) bench/attention_cuda.py --commit $$commit --json $$results-attention_cuda.json

DECODE = $(IN_TREE) $(PYTHON) bench/decode_cuda.py --commit $(COMMIT)

gpu-decode: gpu-build  ## whole forwards of models of published sizes, on a GPU of 80 GB (not part of `make gpu`)
	$(DECODE) --model qwen3-0.6b --workers 1,2,4 --contexts 1024 --no-eager
	$(DECODE) --model qwen3-8b --workers 1,2,4,8 --contexts 1024,4096,16384 --no-eager
	$(DECODE) --model qwen3-8b --workers 1,4 --contexts 4096 --compiled --json bench/results/$(GPU_NAME)-decode_cuda-qwen3-8b-huggingface.json
	$(DECODE) --model qwen3-8b --workers 2 --contexts 2048 --sessions 1,16 --no-eager
	$(DECODE) --model qwq-32b --workers 1,4,8 --contexts 16384 --no-eager

clean:  ## remove builds (the environment stays)
	rm -rf build dist hogwild_cuda/_C*.so hogwild_cuda/_build.json $(READY) $(LINTERS)
