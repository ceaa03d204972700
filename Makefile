# make demo   a clip taken apart: stems, MIDI and a picture in demo-out/
# make test   the test suite
#
# Each sets up what it needs: a virtual environment in .venv and, as root on Debian and
# its like, system packages. PYTHON=/path/to/python3.x chooses the interpreter.

.PHONY: demo test lint clean

demo: .venv/.demo
	.venv/bin/python -m rtsep.demo

test: .venv/.test
	.venv/bin/python -m pytest

lint: .venv/.test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

.venv/.demo: pyproject.toml .ci/setup
	sh .ci/setup demo
	@touch $@

.venv/.test: pyproject.toml .ci/setup
	sh .ci/setup test
	@touch $@

clean:
	rm -rf .venv build dist demo-out
