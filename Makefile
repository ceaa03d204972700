# make demo   a clip taken apart: stems, MIDI and a picture in demo-out/
# make test   the test suite
#
# Each sets up what it needs: a virtual environment in .venv and, as root on Debian and
# its like, system packages. PYTHON=/path/to/python3.x chooses the interpreter.

.PHONY: demo test test-runtime test-training lint clean

demo: .venv/.demo
	.venv/bin/python -m rtsep.demo

# Training computes, while what plays mostly waits for audio: side by side they take as long
# as the longer one. Training gives way, and is heard of at its end.
test: .venv/.test
	$(MAKE) -j2 test-training test-runtime

test-runtime:
	.venv/bin/python -m pytest --ignore=tests/rtsep_export

test-training:
	nice .venv/bin/python -m pytest tests/rtsep_export >.venv/training.log 2>&1; \
	status=$$?; cat .venv/training.log; exit $$status

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
