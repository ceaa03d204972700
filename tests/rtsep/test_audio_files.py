"""Audio files: what is read is what was written, and what cannot be used is refused."""

import os
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pedalboard.io import AudioFile

from rtsep.audio_files import AudioReader, AudioWriter, Format
from rtsep.errors import AudioError, OutputError
from rtsep.truncation import what_is_missing

RATE = 44_100
EXTENSIONS = ("wav", "aiff", "flac", "ogg", "mp3")


def music(frames: int, channels: int = 2) -> np.ndarray:
    generator = np.random.default_rng(1)
    tone = np.sin(2 * np.pi * 220 * np.arange(frames) / RATE)
    return (0.3 * tone + 0.1 * generator.standard_normal((channels, frames))).astype(np.float32)


def write(path: Path, audio: np.ndarray, rate: int = RATE) -> Path:
    with AudioFile(str(path), "w", rate, audio.shape[0]) as file:
        file.write(audio)
    return path


def write_float_wav(path: Path, audio: np.ndarray, rate: int = RATE) -> Path:
    """A float WAV made byte by byte, for what no careful writer would write."""
    channels = audio.shape[0]
    body = audio.T.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * 4 * channels, 4 * channels, 32)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


def read(path: Path, size: int = 1000) -> np.ndarray:
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.blocks(size)), axis=1)


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("file_format", "error"), [("wav", 0.0), ("flac", 2**-22)])
def test_what_is_written_is_read_back(
    tmp_path: Path, file_format: Format, error: float, channels: int, rate: int
) -> None:
    audio = music(5_001, channels)
    writer = AudioWriter(tmp_path / "a", rate, channels, file_format)
    for start in range(0, 5_001, 777):
        writer.write(audio[:, start : start + 777])
    writer.close()
    with AudioReader(tmp_path / "a") as reader:
        assert (reader.sample_rate, reader.channels, reader.frames) == (rate, channels, 5_001)
    np.testing.assert_allclose(read(tmp_path / "a"), audio, rtol=0, atol=error)
    assert writer.clipped == 0


def test_wav_keeps_what_lies_beyond_full_scale_and_flac_counts_it(tmp_path: Path) -> None:
    audio = np.array([[0.5, 1.5, -3.0, 1.0]], np.float32)
    for name in ("wav", "flac"):
        writer = AudioWriter(tmp_path / name, RATE, 1, name)
        writer.write(audio)
        writer.close()
        assert writer.clipped == (0 if name == "wav" else 2)
    np.testing.assert_array_equal(read(tmp_path / "wav"), audio)
    np.testing.assert_allclose(read(tmp_path / "flac"), np.clip(audio, -1, 1), atol=2**-22)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_reads_in_blocks_of_any_size(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path / f"song.{extension}", music(20_000))
    whole = read(path, 1 << 20)
    assert whole.shape[0] == 2
    assert whole.shape[1] >= 20_000
    np.testing.assert_array_equal(read(path, 333), whole)


@pytest.mark.parametrize("extension", EXTENSIONS)
@settings(max_examples=25, deadline=None)
@given(kept=st.floats(0.05, 0.999))
def test_a_file_cut_short_anywhere_is_told_from_a_whole_one(
    tmp_path_factory: pytest.TempPathFactory, extension: str, kept: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = write(folder / f"song.{extension}", music(30_000))
    assert what_is_missing(path) == ""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(AudioError, match=r"cut short|0 samples|not audio"):
        read(path)


def test_tags_after_the_audio_are_not_taken_for_damage(tmp_path: Path) -> None:
    for extension in ("mp3", "flac"):
        path = write(tmp_path / f"song.{extension}", music(30_000))
        with path.open("ab") as file:
            file.write(b"TAG" + bytes(125))
        assert what_is_missing(path) == ""


def test_an_mp3_whose_tag_comes_first_is_checked_too(tmp_path: Path) -> None:
    data = write(tmp_path / "song.mp3", music(30_000)).read_bytes()
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 1, 2]) + bytes(130)
    (tmp_path / "song.mp3").write_bytes(tag + data)
    assert what_is_missing(tmp_path / "song.mp3") == ""
    (tmp_path / "song.mp3").write_bytes(tag + data[: len(data) // 2])
    assert what_is_missing(tmp_path / "song.mp3") != ""


def test_a_wav_that_states_no_length_passes(tmp_path: Path) -> None:
    path = write_float_wav(tmp_path / "pipe.wav", music(1_000))
    data = bytearray(path.read_bytes())
    data[40:44] = b"\xff" * 4
    path.write_bytes(data)
    assert what_is_missing(path) == ""


def test_every_file_of_the_collection_is_whole(data_dir: Path) -> None:
    files = [file for kind in ("flac", "mp3", "ogg") for file in data_dir.rglob(f"*.{kind}")]
    assert files
    assert [file.name for file in files if what_is_missing(file)] == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_located(tmp_path: Path, bad: float) -> None:
    audio = music(30_000)
    audio[1, 22_050] = bad
    with pytest.raises(AudioError, match=r"(NaN|infinite sample) at 0\.500 s"):
        read(write_float_wav(tmp_path / "a.wav", audio))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"hello" * 2_000, os.urandom(9_999), b"fLaC"])
def test_files_that_hold_no_audio_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"empty|not audio|cut short"):
        AudioReader(path)


def test_formats_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "seven.wav"), "wb") as file:
        file.setnchannels(7)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(14 * 100))
    with pytest.raises(AudioError, match="7 channels"):
        AudioReader(tmp_path / "seven.wav")
    with pytest.raises(AudioError, match="0 samples"):
        AudioReader(write_float_wav(tmp_path / "zero.wav", music(0)))
    for rate in (7_999, 192_001):
        with pytest.raises(AudioError, match=f"{rate} Hz"):
            AudioReader(write_float_wav(tmp_path / "rate.wav", music(100), rate))


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.wav", Path(os.devnull), Path("a\0b")):
        with pytest.raises(AudioError):
            AudioReader(path)


def test_a_rate_that_flac_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--format"):
        AudioWriter(tmp_path / "a", 100_003, 1, "flac")


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        AudioWriter(tmp_path / "none" / "a", RATE, 1, "wav")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("file_format", ["wav", "flac"])
def test_a_full_disk_is_reported(file_format: Format) -> None:
    with pytest.raises(OutputError, match="disk is full"):
        _fill(Path("/dev/full"), file_format)


def _fill(path: Path, file_format: Format) -> None:
    writer = AudioWriter(path, RATE, 2, file_format)
    try:
        for _ in range(20):
            writer.write(music(8_192))
        writer.close()
    finally:
        writer.abandon()
