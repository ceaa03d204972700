"""These tests need the [train] extra."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; pip install rtsep[train]")
# Threads of many small networks get in each other's way on a busy machine.
torch.set_num_threads(1)
