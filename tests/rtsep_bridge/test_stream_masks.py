"""Masks of a song over the bridge: they follow the host's play head, else the sound."""

import time
from pathlib import Path

import numpy as np
import pytest

from rtsep.errors import RtsepError
from rtsep.fingerprint import fingerprint
from rtsep.mask_file import write_masks
from rtsep_bridge.messages import Mix, Open, Stems
from rtsep_bridge.sequence import Sender
from rtsep_bridge.stream import Stream
from tests.rtsep.cli import CommandLine
from tests.rtsep.live.test_masks_session import HOP, N_FFT
from tests.rtsep.test_fingerprint import song

RATE, BLOCK = 48_000, 480
SECONDS = 30


def write(path: Path, audio: np.ndarray, tag: str = "gated") -> Path:
    """Masks that let all of a song through in its odd seconds."""
    frames = audio.shape[1] // HOP + 1
    odd = (np.arange(frames) * HOP // RATE) % 2 == 1
    mask = np.repeat(odd[:, None].astype(np.float32), N_FFT // 2 + 1, axis=1)
    words = fingerprint(audio, RATE)
    sizes = {"sample_rate": RATE, "samples": audio.shape[1], "n_fft": N_FFT, "hop": HOP}
    write_masks(path, {tag: mask}, words, **sizes, settings={})
    return path


class Player:
    """A host that plays somewhere on its timeline."""

    def __init__(self, path: Path) -> None:
        self.stream = Stream(None, "none", str(path))
        self.sender = Sender(RATE)
        self.sample = 1_000_000
        opened = self.stream.open(
            Open(**self.sender.numbers(Open, self.sample), preset="live", step=BLOCK)
        )
        assert opened.stems == ("gated", "rest")
        self.latency = opened.latency
        self.begin = self.sample

    def play(self, audio: np.ndarray, position: int | None, pause_s: float = 0.0) -> np.ndarray:
        """The gated stem of what is played; no position, no play head that moves."""
        given = []
        for at in range(0, audio.shape[1] - BLOCK + 1, BLOCK):
            header = Mix(
                **self.sender.numbers(Mix, self.sample),
                frames=BLOCK,
                position=0 if position is None else position + at,
                playing=position is not None,
                offline=False,
            )
            block = np.ascontiguousarray(audio[:, at : at + BLOCK])
            given += self.stream.take(header, block)
            self.sample += BLOCK
            time.sleep(pause_s)
        parts = [m.samples[0] for m in given if isinstance(m.header, Stems)]
        return np.concatenate(parts)


def level(stem: np.ndarray) -> np.ndarray:
    return np.sqrt(np.convolve(stem**2, np.ones(240) / 240, "same"))


def test_the_play_head_tells_the_place_to_the_sample(tmp_path: Path) -> None:
    player = Player(write(tmp_path / "song.masks", song(float(SECONDS))))
    # Noise has no place by its sound.
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, 4 * RATE))).astype(np.float32)
    assert not player.play(noise[:, :RATE], None).any()
    first = player.play(noise, 5 * RATE + 7)
    second = player.play(noise, 12 * RATE)  # a loop of the host's, in the middle of a stream
    stopped = player.play(noise[:, :RATE], None)
    for stem, position in ((first, 5 * RATE + 7), (second, 12 * RATE)):
        # Stems are behind the mix by the latency.
        at = position - player.latency + np.arange(len(stem))
        inside = np.abs(at / RATE % 1.0 - 0.5) < 0.45
        inside[: RATE // 10] = False
        odd = at // RATE % 2 == 1
        heard = level(stem)
        assert heard[inside & odd].min() > 0.05
        assert heard[inside & ~odd].max() < 1e-3
        edge = np.flatnonzero(np.diff((heard[RATE // 10 :] > 0.05).astype(int)))[0] + RATE // 10
        nearest = np.flatnonzero(np.diff(odd.astype(int)))
        assert np.abs(nearest - edge).min() <= HOP
    assert not stopped[RATE // 5 :].any()


def test_without_a_play_head_the_sound_tells_it(tmp_path: Path) -> None:
    audio = song(float(SECONDS))
    player = Player(write(tmp_path / "song.masks", audio))
    start = 7 * RATE
    stem = player.play(audio[:, start : start + 6 * RATE], None, pause_s=0.0015)
    at = start - player.latency + np.arange(len(stem))
    known = np.arange(len(stem)) > 2.2 * RATE
    inside = known & (np.abs(at / RATE % 1.0 - 0.5) < 0.4)
    odd = at // RATE % 2 == 1
    mix = level(audio[0, start - player.latency : start - player.latency + len(stem)])
    heard = level(stem) / (mix + 1e-6)
    assert np.median(heard[inside & odd]) > 0.9
    assert np.median(heard[inside & ~odd]) < 0.02
    assert not stem[: RATE // 2].any()


def test_a_tag_that_is_no_name_over_the_bridge_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "song.masks", song(3.0), tag="no vocals")
    with pytest.raises(RtsepError, match="a stem called 'no vocals'"):
        Player(path)


def test_masks_that_cannot_be_served_are_refused_in_one_line(rtsep: CommandLine) -> None:
    serve = ("bridge", "serve", "--bind", "ipc:///tmp/none/bridge")
    (rtsep.folder / "song.masks").write_text("no masks")
    assert "masks take no model" in rtsep.refuses(
        *serve, "--masks", "song.masks", "--model", "live"
    )
    assert "song.masks" in rtsep.refuses(*serve, "--masks", "song.masks")
    assert "none.masks" in rtsep.refuses(*serve, "--masks", "none.masks")
