# make demo   a clip taken apart: stems, MIDI and a picture in demo-out/
# make test   the test suite
#
# Each sets up what it needs: a virtual environment in .venv and, as root on Debian and
# its like, system packages. PYTHON=/path/to/python3.x chooses the interpreter.

# Tests that play in real time. A machine that is busy with something else may keep them from
# it: what has failed of them is tried once more at the end.
PLAYING = tests/rtsep/live tests/rtsep/bench tests/rtsep/test_cli_live.py tests/rtsep_bridge \
	tests/benchmarks/test_bridge_speed.py tests/benchmarks/test_live_cost.py \
	tests/benchmarks/test_midi_timing.py tests/benchmarks/test_engine_speed.py \
	tests/test_live_page.py tests/test_project.py
PLAY = .venv/bin/python -m pytest -o cache_dir=.venv/playing $(PLAYING)

.PHONY: demo test test-playing test-computing lint clean

demo: .venv/.demo
	.venv/bin/python -m rtsep.demo

# What plays mostly waits for audio, while the rest computes: side by side they take as long
# as the longer one. What computes gives way, and is heard of at its end.
test: .venv/.test
	$(MAKE) -j2 test-computing test-playing

test-playing:
	$(PLAY) || { [ $$? -eq 1 ] && $(PLAY) --last-failed -x; }

test-computing:
	nice .venv/bin/python -m pytest $(PLAYING:%=--ignore=%) >.venv/computing.log 2>&1; \
	status=$$?; cat .venv/computing.log; exit $$status

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
