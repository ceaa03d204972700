"""Any model, causal or not, run on a stream by chunks with context and cross-fades.

Chunk j stands for the frames from ``j * stride`` to ``j * stride + chunk``, where
``stride = chunk - crossfade``; the model also sees `left` frames before and `right`
frames after them.  Where two chunks stand for the same frame, the older fades out
linearly and the younger in; the weights sum to one.  Before the start of the stream
everything is zero.

Chunk j runs as soon as its last frame, ``j * stride + chunk + right - 1``, is in.  It
completes the frames from ``j * stride`` to ``(j + 1) * stride``, so frame n has come out
once frame ``n + chunk + right - 1`` is in, and the first of every stride not before:
this is `delay_frames`, whatever `left` and `crossfade` are.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from rtsep.errors import BundleError
from rtsep.latency import delay_frames
from rtsep.manifest import Chunk

Array = npt.NDArray[np.float32]


class Runnable(Protocol):
    """What the runner needs of `rtsep.backend.Session`."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]

    def run(self) -> None:
        """Compute `outputs` from `inputs`."""


class ChunkRunner:
    """Frames in, frames out, a constant number of frames later.

    Parameters
    ----------
    session : Runnable
        With one input.  Its time axis and those of its outputs have the length
        ``state.left + state.chunk + state.right``.
    state : Chunk
        Sizes in frames.
    time_axes : dict of str to int
        The time axis of the input and of every output, the batch axis counted.
    max_push : int
        The most frames that one `push` brings.
    device : {"cpu", "cuda"}
        What the session runs on, for the record.

    Attributes
    ----------
    delay_frames : int
        See the module's docstring.
    outputs : dict of str to float32 array
        A session's output without its batch axis, and with `max_ready` frames on the
        time axis.
    max_ready : int
        The most frames that one `push` completes.
    error : BundleError or None
        The first failure of the model since `reset`.  The frames that it costs are
        NaN.
    """

    def __init__(
        self,
        session: Runnable,
        state: Chunk,
        time_axes: dict[str, int],
        *,
        max_push: int = 1,
        device: str = "cpu",
    ) -> None:
        self.device = device
        self.delay_frames = delay_frames(state)
        self._state = state
        self._stride = state.chunk - state.crossfade
        self.max_ready = (-(-max_push // self._stride)) * self._stride
        self._max_push = max_push
        self._session = session
        ((input_name, given),) = session.inputs.items()
        # Views with time first; a batch of one is dropped.
        self._input = np.moveaxis(given, time_axes[input_name], 0)[:, 0]
        self._window = np.zeros_like(self._input, order="C")
        self._cores: list[Array] = []
        self._ready: list[Array] = []
        self._tails: list[Array] = []
        self.outputs: dict[str, Array] = {}
        for name, array in session.outputs.items():
            axis = time_axes[name]
            core = np.moveaxis(array, axis, 0)[state.left : state.left + state.chunk, 0]
            shape = list(array.shape[1:])
            shape[axis - 1] = self.max_ready
            self.outputs[name] = np.zeros(shape, np.float32)
            self._cores.append(core)
            self._ready.append(np.moveaxis(self.outputs[name], axis - 1, 0))
            self._tails.append(np.zeros((state.crossfade, *core.shape[1:]), np.float32))
        fade_in = (np.arange(state.crossfade, dtype=np.float32) + 0.5) / max(state.crossfade, 1)
        self._fades = [
            fade_in.astype(np.float32).reshape(-1, *[1] * (core.ndim - 1)) for core in self._cores
        ]
        self._newest, self._missing, self._is_first = 0, state.chunk + state.right, True
        self.error: BundleError | None = None

    def push(self, frames: Array) -> int:
        """Take the next frames and complete those that are due.

        Parameters
        ----------
        frames : float32 array, time on the first axis
            The input without its batch axis; at most `max_push` frames.

        Returns
        -------
        int
            How many frames, from the start of the time axis of every array in
            `outputs`, are now complete; they stay until the next push.
        """
        if len(frames) > self._max_push:
            raise ValueError(f"{len(frames)} frames; expected at most {self._max_push}")
        taken = ready = 0
        while taken < len(frames):
            count = min(len(frames) - taken, self._missing, len(self._window) - self._newest)
            self._window[self._newest : self._newest + count] = frames[taken : taken + count]
            self._newest = (self._newest + count) % len(self._window)
            self._missing -= count
            taken += count
            if self._missing == 0:
                self._run(ready)
                self._missing = self._stride
                ready += self._stride
        return ready

    def reset(self) -> None:
        """Forget everything that was pushed."""
        self._window.fill(0.0)
        self._newest = 0
        self._missing = self._state.chunk + self._state.right
        self._is_first = True
        self.error = None

    def _run(self, at: int) -> None:
        """Run one chunk and put what it completes into the outputs from frame `at`."""
        older = len(self._window) - self._newest
        self._input[:older] = self._window[self._newest :]
        self._input[older:] = self._window[: self._newest]
        try:
            self._session.run()
        except BundleError as error:
            self.error = self.error or error
        crossfade = self._state.crossfade
        for core, ready, tail, fade in zip(
            self._cores, self._ready, self._tails, self._fades, strict=True
        ):
            completed = ready[at : at + self._stride]
            completed[:] = core[: self._stride]
            if not self._is_first and crossfade:
                # tail + fade * (new - tail): exact where both chunks agree.
                overlap = completed[:crossfade]
                overlap -= tail
                overlap *= fade
                overlap += tail
            tail[:] = core[self._stride :]
        self._is_first = False
