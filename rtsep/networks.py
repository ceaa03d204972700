"""Networks as the engine sees them: a frame of features in, frames of outputs out."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from rtsep.backend import Device, Session
from rtsep.bundle import Bundle, of_task
from rtsep.errors import BundleError
from rtsep.kernels.history import advance
from rtsep.manifest import Chunk, Taps
from rtsep.overlap_add import ChunkRunner

Array = npt.NDArray[np.float32]

# A tenth of a second at a network's hop of 256 samples.
RAMP_FRAMES = 19


class Network(Protocol):
    """A network that is fed frame by frame.

    Attributes
    ----------
    device : {"cpu", "cuda"}
    delay_frames : int
        Frame n has come out once frame ``n + delay_frames`` is in.
    outputs : dict of str to float32 array, shape (max_ready, ...)
        Frames in order.  The names are those of the graph, activations left out.
    """

    device: str
    delay_frames: int
    outputs: dict[str, Array]

    @property
    def error(self) -> BundleError | None:
        """The first failure of the model since `reset`.

        A stream goes on after it; the frames that it costs are NaN.
        """

    def push(self, features: Array) -> int:
        """Take one frame of features, float32 [n_features].

        Returns
        -------
        int
            How many rows of every output are now complete, the oldest first; they
            stay until the next push.
        """

    def reset(self) -> None:
        """Forget everything that was pushed."""


def open_network(bundle: Bundle, *, device: Device = "auto") -> Network:
    """Load a bundle of the "mask" or "notes" domain.

    Raises
    ------
    BundleError
        The model cannot be loaded or run.
    ValueError
        The bundle is of the "audio" domain; that is `open_audio`'s.
    """
    if bundle.manifest.domain == "audio":
        raise ValueError(f"bundle '{bundle.name}' takes audio; expected features (see open_audio)")
    session = Session(bundle, device=device)
    if isinstance(bundle.manifest.state, Taps):
        return TapsNetwork(session, bundle.manifest.state)
    return ChunkNetwork(session, bundle.manifest.state)


def open_audio(bundle: Bundle, *, max_push: int, device: Device = "auto") -> ChunkRunner:
    """Load a bundle of the "audio" domain; its frames are samples.

    Parameters
    ----------
    max_push : int
        The most samples that one ``push(samples)`` brings, `samples` with time first,
        shape (n, 2); ``outputs["stems"]`` has the shape (stems, 2, max_ready).

    Raises
    ------
    BundleError
        The model cannot be loaded or run.
    ValueError
        The bundle is of another domain.
    """
    state = bundle.manifest.state
    if bundle.manifest.domain != "audio" or not isinstance(state, Chunk):
        raise ValueError(f"bundle '{bundle.name}' takes features; expected one that takes audio")
    session = Session(bundle, device=device)
    axes = {"audio": 2, "stems": 3}
    return ChunkRunner(session, state, axes, max_push=max_push, device=session.device)


class TapsNetwork:
    """A causal network, one frame at a time, its history in a ring outside the graph.

    See `Network`; every push completes one frame at once.
    """

    delay_frames = 0

    def __init__(self, session: Session, state: Taps) -> None:
        self.device: str = session.device
        self.outputs = {k: v for k, v in session.outputs.items() if k != "activations"}
        self.error: BundleError | None = None
        self._session = session
        self._features = session.inputs["features"][0]
        self._taps = session.inputs["taps"]
        self._activations = session.outputs["activations"]
        self._dilations = np.array(state.dilations, np.int64)
        n_ring = 1 << (state.taps * max(state.dilations) - 1).bit_length()
        self._ring = np.zeros((len(state.dilations), n_ring, state.channels), np.float32)
        # Compile, or load the compiled, before the first frame of a stream.
        advance(self._ring, 0, self._activations, self._dilations, self._taps)
        self.reset()

    def push(self, features: Array) -> int:
        """See `Network.push`; always 1."""
        self._features[:] = features
        try:
            self._session.run()
        except BundleError as error:
            self.error = self.error or error
        advance(self._ring, self._frame, self._activations, self._dilations, self._taps)
        self._frame += 1
        return 1

    def reset(self) -> None:
        """See `Network.reset`."""
        self._ring.fill(0.0)
        self._taps.fill(0.0)
        self._frame = 0
        self.error = None


class QueriedNetwork:
    """A separator's masks with one more stem, which a query names, before the residual.

    What the query's mask takes is that stem's, and the others share the rest as they would
    the whole.  A new query is gone over to in `RAMP_FRAMES` frames.

    Parameters
    ----------
    separator, asked : Bundle
        Of the same front ends and hop, both by taps.

    Raises
    ------
    BundleError
        They do not fit together, or cannot be loaded or run.
    """

    delay_frames = 0

    def __init__(self, separator: Bundle, asked: Bundle, *, device: Device = "auto") -> None:
        base, own = separator.manifest, asked.manifest
        if of_task(asked, "query").manifest.domain != "mask":
            raise BundleError(f"bundle {asked.name}, a query model for files", "one for live use")
        if (base.front_ends, base.hop, base.lookahead) != (own.front_ends, own.hop, own.lookahead):
            raise BundleError(
                f"bundle {asked.name}, which hears the mix in another way than {separator.name}",
                "the same front ends, hop and lookahead",
                "take the separator that it was made for",
            )
        if not isinstance(base.state, Taps):
            raise BundleError(f"bundle {separator.name}, which runs by chunks", "one by taps")
        self._base = open_network(separator, device=device)
        session = Session(asked, device=device)
        assert isinstance(own.state, Taps)
        self._asked = TapsNetwork(session, own.state)
        self.device = self._base.device
        shared, mask = self._base.outputs["masks"], self._asked.outputs["masks"]
        self._shared, self._mask = shared[0], mask[0, 0]
        self.outputs = {"masks": np.zeros((1, 1 + shared.shape[1], shared.shape[2]), np.float32)}
        self._query = session.inputs["query"][0]
        self._target, self._step = self._query.copy(), np.zeros_like(self._query)
        self._left = 0

    def ask(self, query: Array) -> None:
        """Go over to another query vector, float32 [query]."""
        if query.shape != self._query.shape:
            raise ValueError(f"a query of shape {query.shape}; expected {self._query.shape}")
        self._target = query.astype(np.float32)
        self._step = (self._target - self._query) / np.float32(RAMP_FRAMES)
        self._left = RAMP_FRAMES

    @property
    def error(self) -> BundleError | None:
        """See `Network.error`."""
        return self._base.error or self._asked.error

    def push(self, features: Array) -> int:
        """See `Network.push`; always 1."""
        if self._left:
            self._left -= 1
            self._query += self._step
            if not self._left:
                self._query[:] = self._target
        self._base.push(features)
        self._asked.push(features)
        masks = self.outputs["masks"][0]
        masks[:-2] = self._shared[:-1]
        masks[-1] = self._shared[-1]
        masks *= 1.0 - self._mask
        masks[-2] = self._mask
        return 1

    def reset(self) -> None:
        """See `Network.reset`; the last query stays."""
        self._base.reset()
        self._asked.reset()
        self._query[:] = self._target
        self._left = 0


class ChunkNetwork:
    """Any network, run by chunks with context and cross-fades; see `Network`."""

    def __init__(self, session: Session, state: Chunk) -> None:
        self.device: str = session.device
        time_axes = dict.fromkeys((*session.inputs, *session.outputs), 1)
        self._runner = ChunkRunner(session, state, time_axes)
        self.outputs = self._runner.outputs
        self.delay_frames = self._runner.delay_frames

    @property
    def error(self) -> BundleError | None:
        """See `Network.error`."""
        return self._runner.error

    def push(self, features: Array) -> int:
        """See `Network.push`."""
        return self._runner.push(features[None])

    def reset(self) -> None:
        """See `Network.reset`."""
        self._runner.reset()
