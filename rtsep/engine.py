"""The engine: a mix in, stems and notes out, block by block.

The stream is counted in samples from its start and cut at the positions where work
falls due, whatever the sizes of the blocks, so that the same input gives the same
stems and notes however it comes.  Output is handed over before the work at a position
is done: what that work gives is first read by the sample after it.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from rtsep.backend import Device
from rtsep.bundle import Bundle, of_task
from rtsep.errors import AudioError, BundleError
from rtsep.kernels import streams
from rtsep.latency import step_gain
from rtsep.mask_file import MaskFile
from rtsep.networks import Network, QueriedNetwork, open_network
from rtsep.note_events import NoteEvent
from rtsep.played_masks import REST, Place, PlayedMasks
from rtsep.presets import Preset
from rtsep.rates import NATIVE_RATES
from rtsep.separators import Model, Separator, make_separator, open_separator
from rtsep.transcriber import Transcriber

Floats = NDArray[np.float32]

MAX_BLOCK = 8192
QUERIED = "query"
_NEVER = sys.maxsize


def with_query(stems: tuple[str, ...]) -> tuple[str, ...]:
    """A separator's stems and the one that a query names."""
    return (*stems[:-1], QUERIED, stems[-1])


class Engine:
    """Separates and transcribes one stream.

    Parameters
    ----------
    separator : Bundle, MaskFile or None
        A model, or the masks of one song, see `locate`.  None: no stems, notes only.
    transcriber : Bundle or None
        None: stems only.
    preset : Preset
    query : Bundle, optional
        A query model for live use: one more stem, `QUERIED`, before the residual, of what
        `ask` names.  It is taken out of the others, so that all sum to the mix.
    device : {"auto", "cuda", "cpu"}
        "auto" is CUDA where it is really there.

    Attributes
    ----------
    separator : Bundle, MaskFile or None
    stems : tuple of str
        In the order of `process`'s output; the last one is the residual.
    bad_samples : int
        Input samples, over all channels, that were not finite or beyond +120 dB
        (`rtsep.kernels.streams.SAMPLE_LIMIT`) and were replaced by zeros, so that
        neither the transforms nor the networks' histories ever hold one.

    Raises
    ------
    BundleError
        A bundle of the wrong task, or no bundle at all.
    """

    def __init__(
        self,
        separator: Bundle | MaskFile | None,
        transcriber: Bundle | None,
        preset: Preset,
        *,
        query: Bundle | None = None,
        device: Device = "auto",
    ) -> None:
        if separator is None and transcriber is None:
            raise BundleError("no model", "a separator, a transcriber or both")
        self.separator = separator
        self._masks: MaskFile | None = None
        if isinstance(separator, MaskFile):
            self._masks, separator = separator, None
        for bundle, task in ((separator, "separate"), (transcriber, "transcribe")):
            if bundle is not None:
                of_task(bundle, task)
        self._played: PlayedMasks | None = None
        self._place: Place | None = None
        self._separation: tuple[Bundle, Model] | None = None
        self._transcription: tuple[Bundle, Network] | None = None
        self._queried: QueriedNetwork | None = None
        if separator is not None and query is not None:
            self._queried = QueriedNetwork(separator, query, device=device)
            self._separation = separator, self._queried
        elif separator is not None:
            self._separation = separator, open_separator(separator, preset, device=device)
        if transcriber is not None:
            self._transcription = transcriber, open_network(transcriber, device=device)
        self.preset = preset
        self.stems = () if separator is None else separator.manifest.stems
        if self._queried is not None:
            self.stems = with_query(self.stems)
        if self._masks is not None:
            self.stems = (*self._masks.header.tags, REST)
        self.bad_samples = 0
        self.sample_rate = 0
        self.channels = 0

    def prepare(
        self, sample_rate: int, max_block: int, channels: int = 2, *, step: int = 0
    ) -> None:
        """Make everything for a stream and start at its first sample.

        Parameters
        ----------
        sample_rate : int
            One of `rtsep.rates.NATIVE_RATES`; for a model of the "audio" domain, its
            own rate.
        max_block : int
            Most samples that `process` will be given at once, 1 to 8192.
        channels : {1, 2}
            Of the mix, and of every stem.
        step : int
            Every block will be a multiple of it; 0 promises nothing.  What a block
            completes can then go out with that block, which makes the stems earlier by
            what `step` and the preset's hop have in common (`step_gain`).

        Raises
        ------
        AudioError
            A sample rate at which these models do not run.
        ValueError
            Another argument out of range.
        """
        if sample_rate not in self.native_rates:
            rates = ", ".join(map(str, self.native_rates))
            raise AudioError(f"a sample rate of {sample_rate} Hz", f"one of {rates}")
        if not 1 <= max_block <= MAX_BLOCK:
            raise ValueError(f"blocks of up to {max_block}; expected 1 to {MAX_BLOCK}")
        if channels not in (1, 2):
            raise ValueError(f"{channels} channels; expected 1 or 2")
        if step < 0:
            raise ValueError(f"a step of {step}; expected 0 or more")
        separator, transcriber = self._make_stages(sample_rate, channels)
        self._step = step
        self._gain = 0 if separator is None else step_gain(step, separator.hop, separator.lag)
        self._separator, self._transcriber = separator, transcriber
        self.sample_rate, self.channels, self._max_block = sample_rate, channels, max_block
        hop, reach = 1, 1
        if separator is not None:
            hop = separator.hop
            reach = max(separator.network_hop, separator.lag + hop)
            self._feed_in = np.zeros((channels, separator.network_hop), np.float32)
            self._mix_in = np.zeros((channels, hop), np.float32)
        if transcriber is not None:
            reach = max(reach, transcriber.hop + transcriber.phase)
            self._notes_in = np.zeros((channels, transcriber.hop), np.float32)
        self._ring = np.zeros((channels, 1 << (reach - 1).bit_length()), np.float32)
        self._ready = np.zeros((len(self.stems), channels, hop), np.float32)
        self._notes: list[NoteEvent] = []
        self.reset()

    def _make_stages(
        self, sample_rate: int, channels: int
    ) -> tuple[Separator | None, Transcriber | None]:
        separator: Separator | None = None
        transcriber: Transcriber | None = None
        if self._separation is not None:
            separator = make_separator(
                *self._separation, self.preset, sample_rate=sample_rate, channels=channels
            )
        if self._masks is not None:
            separator = self._played = PlayedMasks(
                self._masks, self.preset, sample_rate=sample_rate, channels=channels
            )
            self._played.locate(self._place)
        if self._transcription is not None:
            # Out of step with the separator's network, so that no hop pays for both.
            busy = separator is not None and separator.hop < separator.network_hop
            transcriber = Transcriber(
                *self._transcription,
                sample_rate=sample_rate,
                channels=channels,
                phase=self.preset.hop if busy else 0,
            )
        return separator, transcriber

    @property
    def native_rates(self) -> tuple[int, ...]:
        """Sample rates in Hz at which `prepare` takes these models."""
        if self._separation is None:
            return NATIVE_RATES
        manifest = self._separation[0].manifest
        return (manifest.sample_rate,) if manifest.domain == "audio" else NATIVE_RATES

    @property
    def device(self) -> str:
        """What the networks run on, "cuda" or "cpu"."""
        pairs = (self._separation, self._transcription)
        devices = {pair[1].device for pair in pairs if pair is not None}
        return "cuda" if "cuda" in devices else "cpu"

    @property
    def latency_samples(self) -> int:
        """Delay of every stem against the mix; 0 where there are no stems."""
        self._need_prepared()
        return 0 if self._separator is None else self._separator.latency - self._gain

    @property
    def note_delay_samples(self) -> int:
        """No note-on comes out of `process` further than this behind its `sample`."""
        self._need_prepared()
        return 0 if self._transcriber is None else self._transcriber.delay

    @property
    def misses(self) -> int:
        """Network outputs since `reset` that were not usable.

        A mask frame, or a hop of stems, with a value that is not finite or far out of
        range leaves the mix in the residual; such a frame of notes counts as silence.
        """
        self._need_prepared()
        count = 0 if self._separator is None else self._separator.misses
        return count + (0 if self._transcriber is None else self._transcriber.misses)

    def reset(self) -> None:
        """Go back to the state right after `prepare`."""
        self._need_prepared()
        self._ring.fill(0.0)
        self._ready.fill(0.0)
        self._notes.clear()
        self.bad_samples = 0
        self._position = self._ready_from = 0
        # Of the stems in `_ready`, those before this stream position have gone out.
        self._given = self._gain
        self._feed_due = self._render_due = self._notes_due = _NEVER
        if self._separator is not None:
            self._separator.reset()
            self._feed_due = self._separator.network_hop
            hop = self._separator.hop
            self._render_due = self._separator.lag % hop or hop
        if self._transcriber is not None:
            self._transcriber.reset()
            self._notes_due = self._transcriber.hop + self._transcriber.phase
        self._due = min(self._feed_due, self._render_due, self._notes_due)

    def process(self, block_in: Floats, block_out: Floats) -> None:
        """Take a block of the mix and give a block of every stem.

        Parameters
        ----------
        block_in : float32 [channels, n]
            n from 1 to the `max_block` of `prepare`, another one at every call, and a
            multiple of its `step`.
        block_out : float32 [n_stems, channels, n]
            Overwritten.  May be a strided view; must not overlap `block_in`.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape.
        """
        n = self._check_blocks(block_in, block_out)
        position = self._position
        start = given = 0
        while start < n:
            count = min(n - start, self._due - position)
            self.bad_samples += streams.take(block_in, start, count, self._ring, position)
            start += count
            position += count
            self._position = position
            given = self._give(block_out, given)
            if position == self._due:
                self._work(position)
                given = self._give(block_out, given)

    def _give(self, block_out: Floats, given: int) -> int:
        """Hand out, from sample `given` of the block on, the stems that are due and ready."""
        if self._separator is None:
            return given
        due = self._position + self._gain
        count = min(due, self._ready_from + self._separator.hop) - self._given
        if count > 0:
            offset = self._given - self._ready_from
            streams.give(self._ready, offset, count, block_out, given)
            self._given += count
            given += count
        return given

    def ask(self, query: Floats) -> None:
        """Name the stem `QUERIED` by a query vector; heard within a tenth of a second.

        Raises
        ------
        ValueError
            Another length than the query model's, or there is no such model.
        """
        if self._queried is None:
            raise ValueError("an engine without a query model; expected one")
        self._queried.ask(query)

    def locate(self, place: Place | None) -> None:
        """Say where in its song a stream of masks is; None where that is not known.

        Raises
        ------
        ValueError
            An engine without masks.
        """
        if self._masks is None:
            raise ValueError("an engine without masks; expected one with")
        self._place = place
        if self._played is not None:
            self._played.locate(place)

    def take_notes(self) -> list[NoteEvent]:
        """The note events since the last call, in the order they were decided."""
        notes, self._notes = self._notes, []
        return notes

    def flush_notes(self, end_sample: int | None = None) -> list[NoteEvent]:
        """End the stream for the notes: what is left, every note switched off.

        Parameters
        ----------
        end_sample : int, optional
            Where the mix ends; the samples taken so far where it is not given.
            `reset` comes before the next stream.
        """
        events = self.take_notes()
        if self._transcriber is not None:
            end = self._position if end_sample is None else end_sample
            events.extend(self._transcriber.flush(end))
        return events

    def _work(self, position: int) -> None:
        """Do what falls due at a stream position, and note when the next is due."""
        separator, transcriber = self._separator, self._transcriber
        if separator is not None:
            if position == self._feed_due:
                streams.read_ring(self._ring, position - separator.network_hop, self._feed_in)
                separator.feed(self._feed_in)
                self._feed_due = position + separator.network_hop
            if position == self._render_due:
                start = position - separator.lag - separator.hop
                if start >= 0:
                    streams.read_ring(self._ring, start, self._mix_in)
                    separator.render(position, self._mix_in, self._ready)
                self._ready_from = position
                self._render_due = position + separator.hop
        if transcriber is not None and position == self._notes_due:
            start = position - transcriber.phase - transcriber.hop
            streams.read_ring(self._ring, start, self._notes_in)
            events = transcriber.feed(self._notes_in)
            if events:
                self._notes.extend(events)
            self._notes_due = position + transcriber.hop
        self._due = min(self._feed_due, self._render_due, self._notes_due)

    def _check_blocks(self, block_in: Floats, block_out: Floats) -> int:
        self._need_prepared()
        if block_in.dtype != np.float32 or block_out.dtype != np.float32:
            raise TypeError(
                f"blocks of {block_in.dtype} and {block_out.dtype}; expected float32 for both"
            )
        n: int = block_in.shape[-1]
        if block_in.shape != (self.channels, n) or not 1 <= n <= self._max_block:
            expected = f"({self.channels}, 1 to {self._max_block})"
            raise ValueError(f"an input block of shape {block_in.shape}; expected {expected}")
        if self._step and n % self._step:
            raise ValueError(f"a block of {n} samples; expected a multiple of {self._step}")
        stems_shape = (len(self.stems), self.channels, n)
        if block_out.shape != stems_shape:
            raise ValueError(f"an output block of shape {block_out.shape}; expected {stems_shape}")
        return n

    def _need_prepared(self) -> None:
        if not self.sample_rate:
            raise RuntimeError("an engine that is not prepared; call prepare first")
