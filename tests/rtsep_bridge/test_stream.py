"""A stream by hand: messages in, messages out, no sockets and no process."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from rtsep.bundle import load_bundle
from rtsep.engine import Engine
from rtsep.errors import RtsepError
from rtsep.note_events import NoteEvent
from rtsep.presets import PRESETS
from rtsep_bridge.messages import Control, Message, Mix, Notes, Open, Opened, Stems, decode, encode
from rtsep_bridge.sequence import Sender
from rtsep_bridge.stream import GAP_S, PIECE, Stream
from tests.rtsep import models
from tests.rtsep.cli import music

RATE = 48_000
START = 10_000_000


class Bench:
    """A stream, and what came out of it put together."""

    def __init__(self, folder: Path, *, notes: bool = False) -> None:
        self.model = models.save(models.tcn_taps(), folder / "model.onnx")
        self.transcriber = models.save(models.transcriber(), folder / "notes.onnx")
        self.stream = Stream(str(self.model), str(self.transcriber) if notes else "none")
        self.sender = Sender(RATE)
        self.messages: list[Message] = []

    def open(self, step: int = 128, preset: str = "live") -> Opened:
        header = Open(**self.sender.numbers(Open, START), preset=preset, step=step)
        return self.stream.open(header)

    def mix(self, sample: int, audio: np.ndarray) -> list[Message]:
        header = Mix(
            **self.sender.numbers(Mix, sample),
            frames=audio.shape[1],
            position=0,
            playing=True,
            offline=False,
        )
        # As it arrives: read only, and not where numbers usually start.
        samples = decode(encode(Message(header, np.ascontiguousarray(audio)))).samples
        assert samples is not None
        given = self.stream.take(header, samples)
        self.messages += given
        return given

    def play(self, audio: np.ndarray, blocks: Iterable[int], start: int = START) -> None:
        at = 0
        for block in blocks:
            self.mix(start + at, audio[:, at : at + block])
            at += block

    def stems(self) -> tuple[int, np.ndarray]:
        """First sample, and all of the last run without a gap."""
        blocks = [m for m in self.messages if isinstance(m.header, Stems)]
        first = 0
        for number in range(1, len(blocks)):
            before = blocks[number - 1].header
            if blocks[number].header.sample != before.sample + before.frames:
                first = number
        audio = np.concatenate([m.samples for m in blocks[first:]], axis=1)
        return blocks[first].header.sample, audio

    def notes(self) -> list[NoteEvent]:
        return [n for m in self.messages if isinstance(m.header, Notes) for n in m.header.notes]

    def control(self, **what: object) -> list[Message]:
        self.messages += self.stream.control(Control(**self.sender.numbers(Control, START), **what))
        return self.messages


def offline(bench: Bench, audio: np.ndarray, step: int = 128) -> tuple[int, np.ndarray]:
    """What the engine itself gives, and its latency."""
    engine = Engine(load_bundle(str(bench.model)), None, PRESETS["live"], device="cpu")
    engine.prepare(RATE, step, 2, step=step)
    out = np.zeros((len(engine.stems), 2, audio.shape[1]), np.float32)
    for at in range(0, audio.shape[1], step):
        engine.process(np.ascontiguousarray(audio[:, at : at + step]), out[:, :, at : at + step])
    return engine.latency_samples, out.reshape(-1, audio.shape[1])


def total(stems: np.ndarray) -> np.ndarray:
    return np.stack([stems[0::2].sum(axis=0), stems[1::2].sum(axis=0)])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("blocks", [(128,) * 200, (128, 1024, 256, 4096, 8192, 128) * 3])
def test_stems_are_the_engines_and_lie_on_the_clock_of_the_mix(
    bench: Bench, blocks: tuple[int, ...]
) -> None:
    audio = music(1.0)[:, : sum(blocks)]
    audio = np.pad(audio, ((0, 0), (0, sum(blocks) - audio.shape[1])))
    latency, reference = offline(bench, audio)
    opened = bench.open()
    assert opened.latency == latency
    bench.play(audio, blocks)
    sample, stems = bench.stems()
    assert sample == START
    assert stems.shape[1] == sum(blocks) - latency
    np.testing.assert_allclose(stems, reference[:, latency:], atol=1e-7)
    np.testing.assert_allclose(total(stems), audio[:, : stems.shape[1]], atol=1e-6)
    longest = max(m.header.frames for m in bench.messages if isinstance(m.header, Stems))
    assert longest <= PIECE
    assert all(m.header.latency == latency for m in bench.messages if isinstance(m.header, Stems))


def test_missing_blocks_count_as_silence(bench: Bench) -> None:
    audio = music(1.0)[:, :25_600]
    audio[:, 12_800:13_824] = 0.0
    _, reference = offline(bench, audio)
    latency = bench.open().latency
    bench.play(audio[:, :12_800], (128,) * 100)
    bench.play(audio[:, 13_824:], (128,) * 92, START + 13_824)
    sample, stems = bench.stems()
    assert sample == START
    np.testing.assert_allclose(stems, reference[:, latency:], atol=1e-7)


@pytest.mark.parametrize("jump", [-5_000, int(GAP_S * RATE) + 128, 64])
def test_a_jump_starts_anew(bench: Bench, jump: int) -> None:
    """Back, too far ahead, or out of step."""
    first, second = music(0.5)[:, :12_800], music(0.4)[:, :12_800]
    latency, reference = offline(bench, second)
    bench.open()
    bench.play(first, (128,) * 100)
    bench.messages.clear()
    start = START + 12_800 + jump
    bench.play(second, (128,) * 100, start)
    sample, stems = bench.stems()
    assert sample == start
    np.testing.assert_allclose(stems, reference[:, latency:], atol=1e-7)


def test_another_session_starts_with_neutral_strips(bench: Bench) -> None:
    bench.open()
    bench.control(stem="drums", mute=True)
    bench.sender = Sender(RATE)
    bench.open()
    bench.messages.clear()
    audio = music(0.2)[:, :6_400]
    bench.play(audio, (128,) * 50)
    _, stems = bench.stems()
    np.testing.assert_allclose(total(stems), audio[:, : stems.shape[1]], atol=1e-6)


def test_a_control_acts_and_is_told(bench: Bench) -> None:
    bench.open()
    audio = music(0.2)[:, :6_400]
    bench.play(audio, (128,) * 50)
    _, plain = bench.stems()
    told = bench.control(stem="bass", gain_db=-6.0)[-1].header
    assert isinstance(told, Control)
    assert (told.stem, told.gain_db, told.mute) == ("bass", -6.0, None)
    bench.control(stem="drums", mute=True)
    bench.messages.clear()
    bench.play(audio, (128,) * 50, START)
    _, stems = bench.stems()
    assert not stems[:2, 1_000:].any()
    np.testing.assert_allclose(stems[2:4, 1_000:], 10**-0.3 * plain[2:4, 1_000:], atol=1e-6)
    np.testing.assert_allclose(stems[4:, 1_000:], plain[4:, 1_000:], atol=1e-6)


def test_a_preset_is_changed_on_the_way(bench: Bench) -> None:
    bench.open()
    bench.control(stem="drums", mute=True)
    audio = music(0.2)[:, :6_400]
    bench.play(audio, (128,) * 50)
    bench.messages.clear()
    opened, told = (m.header for m in bench.control(preset="lowest"))
    assert isinstance(opened, Opened)
    assert isinstance(told, Control)
    assert opened.preset == told.preset == "lowest"
    bench.play(audio, (128,) * 50, START + 6_400)
    sample, stems = bench.stems()
    assert sample == START + 6_400
    assert stems.shape[1] == 6_400 - opened.latency
    assert not stems[:2].any()  # what was turned stays turned


def test_notes_lie_on_the_clock_of_the_mix(tmp_path: Path) -> None:
    bench = Bench(tmp_path, notes=True)
    audio = np.zeros((2, 48_000), np.float32)
    audio[:, 12_800:25_600] = 0.3 * np.sin(2 * np.pi * 440.0 * np.arange(12_800) / RATE)
    opened = bench.open()
    bench.play(audio, (128,) * 375)
    struck = [note for note in bench.notes() if note.velocity and note.pitch == 69]
    assert len(struck) == 1
    assert abs(struck[0].sample - START - 12_800) < 1_024
    assert 0 <= struck[0].known_at - struck[0].sample <= opened.note_delay
    ended = [note for note in bench.notes() if not note.velocity and note.pitch == 69]
    assert [abs(note.sample - START - 25_600) < 2_048 for note in ended] == [True]


def test_notes_end_where_the_mix_jumps_and_where_it_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, notes=True)
    audio = 0.3 * np.sin(2 * np.pi * 440.0 * np.arange(12_800) / RATE).astype(np.float32)
    tone = np.stack([audio, audio])
    bench.open()
    bench.play(tone, (128,) * 100)
    bench.play(tone, (128,) * 100, START - 100_000)
    bench.messages += bench.stream.end()
    sounding: set[tuple[str, int]] = set()
    struck = 0
    for note in bench.notes():
        key = (note.stem, note.pitch)
        assert (key in sounding) is (note.velocity == 0)
        struck += note.velocity > 0
        sounding ^= {key}
    assert struck >= 2
    assert not sounding


def test_every_message_can_be_sent_and_is_numbered(tmp_path: Path) -> None:
    bench = Bench(tmp_path, notes=True)
    bench.open()
    bench.play(music(0.5)[:, :12_800], (128,) * 100)
    bench.control(stem="drums", gain_db=3.0)
    for kind in (Stems, Notes, Control):
        found = [m for m in bench.messages if isinstance(m.header, kind)]
        assert [m.header.sequence for m in found] == list(range(len(found)))
        assert all(m.header.session == bench.sender.session for m in found)
        assert all(decode(encode(m)).header == m.header for m in found)
    status = bench.stream.status(misses=3, restarts=1, message="so it is")
    assert status is not None
    assert (status.state, status.frames, status.misses) == ("playing", 12_800, 3)
    assert [level.name for level in status.stems] == list(models.STEMS)
    assert status.mix.peak_db is not None


def test_numbers_go_on_where_another_engine_was(bench: Bench) -> None:
    header = Open(**bench.sender.numbers(Open, START), preset="live", step=128)
    bench.stream.open(header, {"stems": 70, "opened": 1})
    first = next(m for m in bench.mix(START, music(0.1)[:, :1_024]) if m.samples is not None)
    assert first.header.sequence == 70


@pytest.mark.parametrize("rate", [8_000, 11_025, 192_000])
def test_a_rate_that_no_engine_runs_at_is_refused(bench: Bench, rate: int) -> None:
    header = Open(**Sender(rate).numbers(Open, 0), preset="live", step=64)
    with pytest.raises(RtsepError, match=f"{rate} Hz"):
        bench.stream.open(header)


def test_what_cannot_be_done_is_refused(bench: Bench) -> None:
    silence = np.zeros((2, 128), np.float32)
    with pytest.raises(RtsepError, match="not opened"):
        bench.mix(0, silence)
    for preset in ("offline", "loud"):
        with pytest.raises(RtsepError, match="lowest, live, relaxed"):
            bench.open(preset=preset)
    bench.open()
    with pytest.raises(RtsepError, match="multiples of 128"):
        bench.mix(START, silence[:, :100])
    with pytest.raises(RtsepError, match="one of drums"):
        bench.control(stem="triangle", mute=True)
    with pytest.raises(RtsepError, match="lowest, live, relaxed"):
        bench.control(preset="offline")
    bench.mix(START, silence)
