# List the recipes.
default:
    @just --list

# Everything needed to work on restorer, in .venv.
setup:
    python3 -m venv .venv
    .venv/bin/pip install -c constraints.txt -e '.[test]'

# The test suite.
test *ARGS:
    .venv/bin/pytest {{ARGS}}

# What CI checks besides the tests.
lint:
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .

# Mend what can be mended.
fix:
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# The score table of all models: `just scores DATA --out scores.json`, then `just scores --write scores.json`.
scores *ARGS:
    .venv/bin/python benchmarks/scores.py {{ARGS}}

# Speed beside official code and diffusers: `just speed --rddm PATH --diffusers --write`; see docs/performance.md.
speed *ARGS:
    .venv/bin/python benchmarks/official.py {{ARGS}}

# All tables of docs/performance.md: `just performance --data DATA --rddm PATH --irsde PATH --ddnm PATH`.
performance *ARGS:
    .venv/bin/python benchmarks/performance.py {{ARGS}}

# What CI runs, in a fresh virtual environment.
ci:
    .ci/run
