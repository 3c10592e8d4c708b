# make train: set everything up and train a Go2 to walk.   make test: set everything up and run the tests.
# make soak: hours of faults and of training (docs/reliability.md).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CONFIG ?= configs/phase1_quickstart.yaml

.PHONY: setup train demo test soak lint types check docs docs-drive wheel clean apt-rendering apt-browser

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

train: $(READY)
	$(BIN)/python train_phase1.py --config $(CONFIG) --device auto $(ARGS)

# The pretrained policy on stairs: in a window where there is a display, else as a video.
DEMO := play.py --checkpoint pretrained:go2_rough --terrain stairs_up --level 6 --command 0.6,0,0
demo: $(READY)
	@mkdir -p logs
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then $(BIN)/python $(DEMO); \
	else $(BIN)/python $(DEMO) --seconds 10 --video logs/demo.mp4; fi

# One process a core, one thread each: threads of several processes would wait for each other.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

soak: $(READY)
	$(BIN)/python -m tests.faults --long
	$(BIN)/python -m tests.faults.soak --minutes 120

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

check: lint types test

# The documentation as a site: site/index.html
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; look at it with: $(BIN)/python -m http.server --directory site"

# The same with a page in which anyone drives the pretrained policy, 27 MB; needs npm and a network once.
docs-drive: $(READY)
	$(BIN)/python play.py --checkpoint pretrained:go2_rough --terrain stairs_up --level 3 --share dist/drive
	$(MAKE) docs

# An installable file under dist/: pip install dist/legged_ppo-*.whl
wheel: $(READY)
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# Optional: the system libraries for rendering videos on a machine without a display (as root, Debian or Ubuntu).
apt-rendering:
	apt-get update && apt-get install --yes --no-install-recommends libegl1 libgl1

# Optional: the browser of the tests of the web view and of play.py --share (as root, Debian or Ubuntu).
apt-browser:
	apt-get update && apt-get install --yes --no-install-recommends chromium

clean:
	rm -rf $(VENV) build dist site *.egg-info
