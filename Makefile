# Everything here sets up .venv by itself when it is missing or older than pyproject.toml or constraints.txt.
PYTHON ?= python3
# On a machine with its own choice of torch build, say: make TORCH="torch --index-url URL"
TORCH ?= torch

# Waiting threads sleep: on a machine with busy neighbours spinning ones cost most of the speed.
export OMP_WAIT_POLICY = PASSIVE
export GOMP_SPINCOUNT = 0

BIN = .venv/bin
STAMP = .venv/.installed

.PHONY: demo test test-fast gate model lint format clean

demo: $(STAMP)
	$(BIN)/mien demo --out demo-output

test: $(STAMP)
	$(BIN)/pytest -n auto --dist worksteal

test-fast: $(STAMP)
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

gate: $(STAMP)
	rm -rf gate-output/sweep  # trained by the code as it was
	$(BIN)/python benchmarks/gate.py --out gate-output

# The shipped action-unit model, from the public face model: make model FACE_MODEL=ict_facekit.npz
model: $(STAMP)
	$(BIN)/python -m model.make --face-model $(FACE_MODEL) --out model-output

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('mien needs Python 3.11 or newer') if sys.version_info < (3, 11) else None"
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/mien download faces
	touch $(STAMP)

clean:
	rm -rf .venv demo-output gate-output .pytest_cache .mypy_cache .ruff_cache
