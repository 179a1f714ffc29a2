# What there is to do: `make help`. Every target is one call; a fresh checkout sets itself up first.
#
# Values given on the command line or in the environment reach the shell through the environment only, always in
# quotes, and are never expanded by make: RECIPE='a; rm -rf ~' names a recipe that does not exist, and nothing more.

RECIPE ?= pcb-distill
DATASET ?= deeppcb
RECIPEBOX_VENV ?= .venv
# Some systems set NAME for everybody (WSL: to the machine's), so it counts on the command line only; and the default
# of DATASET is a set that is known already, nothing that init could look at. HOST is as NAME: csh exports it.
NAME_ := $(if $(filter command,$(firstword $(origin NAME))),given)
HOST_ := $(if $(filter command,$(firstword $(origin HOST))),given)
DATASET_ := $(if $(filter file,$(origin DATASET)),,given)
VARIABLES := RECIPE RUN A B ROUNDS IMAGES OUT PROFILE DEVICE PRECISION DATASET NAME FROM SET OVER SEEDS IMGSZ HTML FIX PYTHON IN HOST BASE_IMAGE TENSORRT RECIPEBOX_VENV
$(foreach name,$(VARIABLES),$(eval override $(name) := $$(value $(name))))
export $(VARIABLES)

SHELL := /bin/sh
READY := $(RECIPEBOX_VENV)/.ready
BOX := "$$RECIPEBOX_VENV/bin/recipebox"
PY := "$$RECIPEBOX_VENV/bin/python"
# SET="train.epochs=3 train.batch=8" becomes --set train.epochs=3 --set train.batch=8.
CHOICES := set -f; set --; for one in $$SET; do set -- "$$@" --set "$$one"; done; \
	set -- "$$@" $${PROFILE:+--profile "$$PROFILE"} $${DEVICE:+--device "$$DEVICE"};
THE_RUN := "$${RUN:-$$RECIPE}"
# `make train` runs in the devbox where there is one (docs/devbox.md); IN=local never, IN=devbox always, HOST=name there.
INSIDE := $(if $(filter train,$(MAKECMDGOALS)),$(if $(filter local,$(value IN)),,$(if \
	$(filter devbox,$(value IN))$(HOST_),yes,$(shell scripts/devbox.sh usable && echo yes))))
THERE := $(if $(HOST_),RECIPEBOX_HOST="$$HOST" )scripts/devbox.sh
# In the devbox the environment is the image's.
ifeq ($(RECIPEBOX_INSIDE),devbox)
READY :=
endif

.DEFAULT_GOAL := help
.PHONY: help setup init train plan data prove sweep check-data anchors evaluate export-onnx export-trt bundle bench bench-compare bench-speed report predict recipes runs image image-lock up ssh jupyter attach down doctor test test-full test-container lint

help: ## This list
	@echo 'make TARGET [RECIPE=pcb-distill] [RUN=folder] [PROFILE=gpu|cpu|smoke] [DEVICE=cpu|0] [SET="train.epochs=3 ..."]'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1	\2/p' Makefile | expand -t 16

setup: $(READY) ## The project's own environment in .venv, from the lock (other targets do it by themselves)

ifneq ($(READY),)
$(READY): docker/dev.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh "$$RECIPEBOX_VENV"
endif

init: $(READY) ## Look at a folder of images (DATASET=path), convert and split it, write recipes/NAME.yaml (NAME=line-3)
	@$(BOX) init $(if $(NAME_),--name "$$NAME") $(if $(DATASET_),-- "$$DATASET")

train: $(if $(INSIDE),,$(READY)) ## Train RECIPE (its teacher first), evaluate, export, bench and report: the main job
	@$(CHOICES) $(if $(INSIDE),$(THERE) run,$(BOX)) train "$$@" -- "$$RECIPE"

plan: $(READY) ## What `make train` would do here, without doing it
	@$(CHOICES) $(BOX) plan "$$@" -- "$$RECIPE"

prove: $(READY) ## What every lever of RECIPE changes in a few training steps; fails where one changes nothing
	@$(CHOICES) $(BOX) prove "$$@" -- "$$RECIPE"

# OVER="train.lr0=0.01,0.02 train.nbs=16,64" becomes --over train.lr0=0.01,0.02 --over train.nbs=16,64.
sweep: $(READY) ## Train RECIPE with each of OVER="key=v1,v2 ..." and SEEDS=1,2,3, and compare; again goes on
	@$(CHOICES) for one in $$OVER; do set -- "$$@" --over "$$one"; done; \
	$(BOX) sweep "$$@" $${SEEDS:+--seeds "$$SEEDS"} -- "$$RECIPE"

data: $(READY) ## Prepare DATASET (FROM=archive or folder, where it cannot be fetched)
	@$(BOX) data prepare $${FROM:+--from "$$FROM"} -- "$$DATASET"

check-data: $(READY) ## What is wrong with DATASET (a name or a folder), with file and line; IMGSZ=640 HTML=page.html FIX=copy
	@$(BOX) check-data $${IMGSZ:+--imgsz "$$IMGSZ"} $${HTML:+--html "$$HTML"} $${FIX:+--fix "$$FIX"} -- "$$DATASET"

anchors: $(READY) ## Anchors fitted to RECIPE's (or DATASET's) boxes, and which stride covers which; IMGSZ=640 OUT=sizes.png
	@$(BOX) anchors $${IMGSZ:+--imgsz "$$IMGSZ"} $${PROFILE:+--profile "$$PROFILE"} $${OUT:+--plot "$$OUT"} \
	-- $(if $(DATASET_),"$$DATASET","$$RECIPE")

evaluate: $(READY) ## Evaluate RUN (or the latest finished run of RECIPE) on its test split again
	@$(BOX) evaluate -- $(THE_RUN)

export-onnx: $(READY) ## Export RUN to ONNX and check its accuracy (PRECISION=fp32|fp16|int8, by default the recipe's)
	@$(BOX) export $${PRECISION:+--precision "$$PRECISION"} -- $(THE_RUN)

export-trt: $(READY) ## Build a TensorRT engine of RUN on this machine's GPU and check it (PRECISION=fp32|fp16|int8)
	@$(BOX) export --format engine $${PRECISION:+--precision "$$PRECISION"} -- $(THE_RUN)

bundle: $(READY) ## A folder that detects without recipebox, from RUN's export (OUT=new folder PRECISION=fp16)
	@$(BOX) bundle $${PRECISION:+--precision "$$PRECISION"} $${OUT:+--out "$$OUT"} -- $(THE_RUN)

bench: $(READY) ## Measure the speed of RUN's exported file here (PRECISION=int8: another one); fails below bench.min_fps
	@$(BOX) bench $${PRECISION:+--precision "$$PRECISION"} -- $(THE_RUN)

bench-compare: $(READY) ## Which of A and B (runs or exported files) is faster here, where the intervals allow a verdict
	@$(BOX) bench compare -- "$$A" "$$B"

bench-speed: $(READY) ## What pre- and post-processing add to RUN's file, beside Ultralytics' predict (ROUNDS=12; wants idle cores)
	@$(PY) tests/benchmarks/pipeline_speed.py --rounds "$${ROUNDS:-12}" -- $(THE_RUN)

report: $(READY) ## Write RUN's report again
	@$(BOX) report -- $(THE_RUN)

predict: $(READY) ## Draw what RUN detects on IMAGES=image, folder or video (OUT=new folder)
	@$(BOX) predict $${OUT:+--out "$$OUT"} -- $(THE_RUN) "$$IMAGES"

recipes: $(READY) ## The recipes there are
	@$(BOX) recipes

runs: $(READY) ## The runs there are, and their state
	@$(BOX) runs

image: ## Build the devbox's image and try it (BASE_IMAGE=... TENSORRT=none); needs a container engine only
	@scripts/devbox.sh image

image-lock: ## Write the digest of the base image into docker/Dockerfile (needs the network)
	@scripts/devbox.sh image-lock

up: ## Start the devbox: sshd on 127.0.0.1:2222 (RECIPEBOX_SSH_PORT), this project mounted
	@scripts/devbox.sh up

ssh: ## Into the devbox
	@scripts/devbox.sh ssh

jupyter: ## Jupyter of the devbox, through ssh, at 127.0.0.1:8888
	@scripts/devbox.sh jupyter

attach: ## Come back to what runs in the devbox (HOST=name: in another one)
	@$(THERE) attach

down: ## End the devbox; runs, data and its keys stay
	@scripts/devbox.sh down

# By itself where nothing could be set up, or what was set up is broken: any Python from 3.8 on does.
doctor: ## What is on this machine, what fits together, and the command that mends what does not
	@if $(BOX) version >/dev/null 2>&1; then $(BOX) doctor; \
	elif [ -x $(PY) ]; then $(PY) -S -E src/recipebox/doctor; \
	else "$${PYTHON:-python3}" -S -E src/recipebox/doctor; fi

# A test a core, at most four: each of them may hold 1.5 GB. A worker that has nothing left takes from another.
WORKERS := -n logical --maxprocesses 4 --dist worksteal

test: $(READY) ## The quick tests (about a quarter of an hour on two cores)
	@$(PY) -m pytest $(WORKERS)

test-full: $(READY) ## All tests, the slow ones too; those of the devbox are `make test-container`
	@$(PY) -m pytest $(WORKERS) -m "not container"

test-container: $(READY) ## Build the devbox on a Debian base and use it (root, 14 GB of disk, at most 15 minutes)
	@$(PY) -m pytest -m container tests/container

lint: $(READY) ## ruff and mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
