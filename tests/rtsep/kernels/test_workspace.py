import numpy as np
from numba import njit

from rtsep.kernels.workspace import pack, part


@njit(cache=True)
def _read(packed, bounds, i, out):
    out[:] = part(packed, bounds, i)


def test_what_was_packed_comes_out_again():
    arrays = [np.arange(6.0).reshape(2, 3), np.zeros((0, 4)), np.arange(100.0)]
    packed, bounds = pack(arrays)
    for i, array in enumerate(arrays):
        out = np.full(array.size, -1.0)
        _read(packed, bounds, i, out)
        np.testing.assert_array_equal(out, array.ravel())


def test_parts_start_on_cache_lines_that_do_not_collide():
    _, bounds = pack([np.zeros(4096, np.float32)] * 4)
    lines = bounds[:, 0] // 16
    assert (bounds[:, 0] % 16 == 0).all()
    assert len(set(lines % 64)) == 4
