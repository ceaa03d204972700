"""Mask files: what is written is what is read, and what strangers change is refused."""

import struct
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest

from rtsep.errors import AudioError, OutputError
from rtsep.mask_file import CHUNK_FRAMES, MAGIC, Header, read_masks, write_masks

N_FFT, HOP, FRAMES = 256, 128, CHUNK_FRAMES + 90
SAMPLES = (FRAMES - 1) * HOP + 5


def masks(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (FRAMES, N_FFT // 2 + 1)
    return {tag: rng.random(shape, np.float32) for tag in ("guitar", "male vocal")}


def write(path: Path) -> Header:
    words = np.arange(500, dtype=np.uint32) * 7_654_321
    return write_masks(
        path,
        masks(),
        words,
        sample_rate=44_100,
        samples=SAMPLES,
        n_fft=N_FFT,
        hop=HOP,
        settings={"steps": "10"},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "song.masks")
    return tmp_path / "song.masks"


def test_masks_come_back_to_half_a_step(path: Path) -> None:
    found = read_masks(path)
    assert found.header.tags == ("guitar", "male vocal")
    assert (found.header.sample_rate, found.header.samples) == (44_100, SAMPLES)
    assert found.header.settings == {"steps": "10"}
    for row, mask in zip(found.masks, masks().values(), strict=True):
        assert np.abs(row / 255 - mask).max() <= 0.5 / 255 + 1e-6
    assert (found.fingerprint == np.arange(500, dtype=np.uint32) * 7_654_321).all()


def test_a_song_takes_little_room(tmp_path: Path) -> None:
    """Smooth masks at the paper's transform, a minute of them, in bytes a tag."""
    frames = 60 * 44_100 // 512 + 1
    t, f = np.mgrid[0:frames, 0:513].astype(np.float32)
    mask = 0.5 + 0.5 * np.sin(t / 30) * np.cos(f / 40)
    header = write_masks(
        tmp_path / "long.masks",
        {"guitar": mask},
        np.zeros(6000, np.uint32),
        sample_rate=44_100,
        samples=60 * 44_100,
        n_fft=1024,
        hop=512,
        settings={},
    )
    # Three minutes are to take 15 MB at most; unpacked it would be 8 MB already.
    assert 3 * sum(header.sizes) < 8e6


@pytest.mark.parametrize("cut", [0, 5, 11, 60, 300, -1, -5000])
def test_a_file_cut_short_is_refused(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(AudioError) as caught:
        read_masks(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def edited(path: Path, **changes: object) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    fields = msgspec.json.decode(data[12 : 12 + length])
    text = msgspec.json.encode(fields | changes)
    path.write_bytes(MAGIC + struct.pack("<I", len(text)) + text + data[12 + length :])


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": FRAMES - 1},
        {"frames": 1 << 24},
        {"n_fft": 512},
        {"n_fft": 255},
        {"hop": 64},
        {"tags": ["guitar"]},
        {"tags": ["guitar", "guitar"]},
        {"tags": ["guitar", "../x"]},
        {"samples": 10},
        {"fingerprint_frames": 499},
        {"fingerprint_frames": 1 << 30},
        {"sample_rate": 1},
        {"sizes": [1]},
        {"extra": 1},
    ],
)
def test_contradictions_are_refused(path: Path, changes: dict[str, object]) -> None:
    edited(path, **changes)
    with pytest.raises(AudioError, match="damaged or cut short"):
        read_masks(path)


def test_changed_bytes_are_refused_or_harmless(path: Path) -> None:
    data, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        at = int(rng.integers(len(data)))
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        # Anything but this error is a mistake.
        with suppress(AudioError):
            refused += 1
            assert read_masks(path).masks.shape == (2, FRAMES, N_FFT // 2 + 1)
            refused -= 1
    assert refused > 50


def test_other_files_and_versions_are_told_apart(path: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot be read"):
        read_masks(tmp_path / "none.masks")
    path.write_bytes(b"RTSMASK2" + path.read_bytes()[8:])
    with pytest.raises(AudioError, match="of another version"):
        read_masks(path)
    path.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match="is no mask file"):
        read_masks(path)


def test_wrong_masks_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write(tmp_path / "none" / "song.masks")
    words = np.zeros(1, np.uint32)
    with pytest.raises(ValueError, match="masks of shapes"):
        write_masks(
            tmp_path / "x.masks",
            masks(),
            words,
            sample_rate=44_100,
            samples=SAMPLES,
            n_fft=512,
            hop=HOP,
            settings={},
        )
    assert not (tmp_path / "x.masks").exists()
