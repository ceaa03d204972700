"""FluidSynth plays what leaves at the MIDI port: at the right pitches, drums as drums."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.midi_listener import end_in_order
from rtsep.bench.probe import Probe
from tests.rtsep_bridge.midi_rig import (
    BASS,
    DRUM,
    GUITAR,
    NAME,
    PIANO,
    RATE,
    beeps,
    hertz,
    midi_rig,
    until,
)

FONTS = ("TimGM6mb.sf2", "default-GM.sf2")


@contextmanager
def fluidsynth(server: str) -> Iterator[None]:
    """The synthesizer, connected to the port and playing to two outputs."""
    folder = Path("/usr/share/sounds/sf2")
    font = next((folder / name for name in FONTS if (folder / name).exists()), None)
    if shutil.which("fluidsynth") is None or font is None:
        pytest.skip("no FluidSynth with a sound font (Debian: fluidsynth, timgm6mb-soundfont)")
    child = subprocess.Popen(
        [
            *("fluidsynth", "-a", "jack", "-m", "jack", "-r", str(RATE)),
            *("-g", "1", "-R", "0", "-C", "0"),  # loud, without reverberation and chorus
            *("-o", f"midi.jack.server={server}", "-o", f"audio.jack.server={server}"),
            str(font),
        ],
        env={**os.environ, "JACK_DEFAULT_SERVER": server},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield
    finally:
        assert child.stdin is not None
        child.stdin.write("quit\n")
        child.stdin.close()
        end_in_order(child)


def jack_ports(server: str) -> list[str]:
    asked = subprocess.run(["jack_lsp", "-s", server], capture_output=True, text=True, check=False)
    return asked.stdout.split()


def connect(server: str, source: str, target: str) -> None:
    subprocess.run(["jack_connect", "-s", server, source, target], check=True, timeout=10)


def pitch_of(sound: npt.NDArray[np.float32]) -> float:
    """The fundamental, by the longest common period: where the sound resembles itself most."""
    x = sound.astype(np.float64) - sound.mean()
    size = 2 * x.size
    likeness = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2)[: x.size]
    likeness /= np.arange(x.size, 0, -1)
    low, high = int(RATE / 1500), int(RATE / 60)
    lag = low + int(np.argmax(likeness[low:high] > 0.9 * likeness[low:high].max()))
    while likeness[lag + 1] > likeness[lag]:
        lag += 1
    return RATE / lag


def test_a_synthesizer_plays_the_notes(tmp_path: Path) -> None:
    tones = (BASS, GUITAR, PIANO, DRUM)
    signal = beeps(tones, 0.45, 0.3)
    session = f"[midi.drum_map]\n{DRUM} = 38\n"
    with midi_rig(tmp_path, signal, session) as rig:
        server = rig.player.server.name
        with fluidsynth(server):
            until(lambda: sum("fluidsynth" in p for p in jack_ports(server)) >= 3, "FluidSynth")
            ports = [port for port in jack_ports(server) if port.startswith("fluidsynth")]
            midi_in = next(port for port in ports if "midi" in port)
            audio = next(port for port in ports if "left" in port or port.endswith("l_00"))
            connect(server, f"rtsep-midi:{NAME}", midi_in)
            with Probe(server, ("left",), np.zeros((2, 1), np.float32), 1 << 19) as ear:
                connect(server, audio, "rtsep-bench-sink-01:left")
                start = rig.probe.play()
                stop = start + signal.shape[1] + RATE // 2
                ear.wait(stop)
                heard = ear.read(start, stop - start)[0]
        notes = rig.listener.notes()
        assert [number for _, number in notes] == [BASS, GUITAR, PIANO, 38]
        strokes = [m.frame - start for m in rig.listener.heard if m.kind == 0x90]
        before = float(np.sqrt(np.mean(heard[: strokes[0] - 2000] ** 2)))
        assert before < 1e-4
        for pitch, at in zip(tones[:3], strokes[:3], strict=True):
            found = pitch_of(heard[at + 4000 : at + 16_000])
            assert abs(12 * np.log2(found / hertz(pitch))) < 0.5, (pitch, found)
        drum = heard[strokes[3] : strokes[3] + RATE // 4]
        assert np.abs(drum).max() > 0.01
        # A snare is noise: no period is found in it as in the tones.
        spectrum = np.abs(np.fft.rfft(drum * np.hanning(drum.size))) ** 2
        flatness = np.exp(np.mean(np.log(spectrum + 1e-12))) / np.mean(spectrum)
        tone = heard[strokes[1] + 2000 : strokes[1] + 2000 + drum.size]
        of_tone = np.abs(np.fft.rfft(tone * np.hanning(tone.size))) ** 2
        assert flatness > 20 * np.exp(np.mean(np.log(of_tone + 1e-12))) / np.mean(of_tone)
