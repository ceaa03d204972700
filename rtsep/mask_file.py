"""Masks of a song, worked out ahead: a documented, versioned, compressed file.

::

    8 bytes     b"RTSMASK1"
    4 bytes     length of the header, little-endian
    header      JSON: `Header`
    chunks      zlib: the mix's fingerprint, then tag after tag `CHUNK_FRAMES` frames each

A chunk of masks is uint8 ``[frames, bins]`` in C order, 255 for all of a bin; frame k has
its middle at sample ``k * hop`` of the song.  The fingerprint is uint32 little-endian, one
a frame of `rtsep.fingerprint`.  Files come from strangers: sizes are checked before
anything is unpacked, and nothing is unpacked beyond them.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from rtsep.errors import AudioError
from rtsep.output_file import replacing

MAGIC = b"RTSMASK1"
CHUNK_FRAMES = 512
MAX_HEADER_BYTES = 1 << 20
MAX_MASK_BYTES = 1 << 30
MAX_FINGERPRINT_FRAMES = 1 << 20

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]
Count = Annotated[int, Meta(ge=1, le=1 << 34)]
Tag = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9 ._-]{0,63}$")]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a mask file says of itself.

    Attributes
    ----------
    sample_rate, samples : int
        Of the song, in Hz, and its length.
    n_fft, hop : int
        Of the masks' transform, in samples of the song.
    frames : int
        Of the masks; there are ``n_fft // 2 + 1`` bins.
    tags : tuple of str
        What there are masks of.
    settings : dict of str to str
        How they were made.
    fingerprint_frames : int
    sizes : tuple of int
        Of all chunks, in bytes.
    """

    sample_rate: Annotated[int, Meta(ge=8_000, le=192_000)]
    samples: Count
    n_fft: Annotated[int, Meta(ge=64, le=16_384)]
    hop: Annotated[int, Meta(ge=16, le=16_384)]
    frames: Annotated[int, Meta(ge=1, le=1 << 24)]
    tags: Annotated[tuple[Tag, ...], Meta(min_length=1, max_length=64)]
    settings: dict[str, str] = {}
    fingerprint_frames: Annotated[int, Meta(ge=1, le=MAX_FINGERPRINT_FRAMES)]
    sizes: tuple[Annotated[int, Meta(ge=1, le=1 << 30)], ...]

    @property
    def bins(self) -> int:
        """Of a frame."""
        return self.n_fft // 2 + 1

    @property
    def chunks(self) -> int:
        """Of one tag."""
        return -(-self.frames // CHUNK_FRAMES)


@dataclass(frozen=True)
class MaskFile:
    """A mask file that has passed every check.

    Attributes
    ----------
    masks : uint8 array, shape (tags, frames, bins)
    fingerprint : uint32 array, shape (fingerprint_frames,)
    """

    header: Header
    masks: Bytes
    fingerprint: Words


def write_masks(
    path: Path,
    masks: Mapping[str, npt.NDArray[np.float32]],
    fingerprint: Words,
    *,
    sample_rate: int,
    samples: int,
    n_fft: int,
    hop: int,
    settings: Mapping[str, str],
) -> Header:
    """Write a mask file, whole or not at all.

    Parameters
    ----------
    masks : mapping of str to float32 array, shape (frames, bins)
        From 0 to 1, by tag.

    Raises
    ------
    OutputError
        The file cannot be written.
    ValueError
        Masks of different shapes, or with other bins than `n_fft` has.
    """
    shapes = {array.shape for array in masks.values()}
    if len(shapes) != 1 or next(iter(shapes))[1] != n_fft // 2 + 1:
        raise ValueError(
            f"masks of shapes {sorted(shapes)}; expected one, of {n_fft // 2 + 1} bins"
        )
    ((frames, _),) = shapes
    parts = [zlib.compress(fingerprint.astype("<u4").tobytes(), 9)]
    for array in masks.values():
        rounded = np.rint(array.clip(0.0, 1.0) * 255).astype(np.uint8)
        for start in range(0, frames, CHUNK_FRAMES):
            parts.append(zlib.compress(rounded[start : start + CHUNK_FRAMES].tobytes(), 6))
    header = Header(
        sample_rate=sample_rate,
        samples=samples,
        n_fft=n_fft,
        hop=hop,
        frames=frames,
        tags=tuple(masks),
        settings=dict(settings),
        fingerprint_frames=len(fingerprint),
        sizes=tuple(len(part) for part in parts),
    )
    text = msgspec.json.encode(header)
    msgspec.json.decode(text, type=Header)
    with replacing(path) as scratch, scratch.open("wb") as file:
        file.write(MAGIC + struct.pack("<I", len(text)) + text)
        file.writelines(parts)
    return header


def read_masks(path: Path) -> MaskFile:
    """Read and check a mask file.

    Raises
    ------
    AudioError
        It cannot be read, is none, is cut short, damaged, or contradicts itself.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AudioError(f"{path} cannot be read ({reason})", "a mask file") from None
    if data[: len(MAGIC)] != MAGIC:
        newer = data[: len(MAGIC) - 1] == MAGIC[:-1]
        found = "a mask file of another version" if newer else "no mask file"
        raise AudioError(f"{path} is {found}", "what 'rtsep steer' writes", "make it again")
    try:
        return _parse(data)
    except (msgspec.DecodeError, struct.error, zlib.error, _DamagedError) as error:
        raise AudioError(
            f"{path} is damaged or cut short ({error})", "a whole mask file", "make it again"
        ) from None


class _DamagedError(Exception):
    """What does not hold in a mask file."""


def _parse(data: bytes) -> MaskFile:
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    start = len(MAGIC) + 4
    if length > MAX_HEADER_BYTES or start + length > len(data):
        raise _DamagedError(f"a header of {length:,} bytes")
    header = msgspec.json.decode(data[start : start + length], type=Header)
    _check(header, len(data) - start - length)
    position = start + length
    fingerprint = _unpack(data, position, header.sizes[0], 4 * header.fingerprint_frames)
    position += header.sizes[0]
    masks = np.empty((len(header.tags), header.frames, header.bins), np.uint8)
    sizes = iter(header.sizes[1:])
    for rows in masks:
        for first in range(0, header.frames, CHUNK_FRAMES):
            part, size = rows[first : first + CHUNK_FRAMES], next(sizes)
            content = _unpack(data, position, size, part.size)
            part[:] = np.frombuffer(content, np.uint8).reshape(part.shape)
            position += size
    return MaskFile(header, masks, np.frombuffer(fingerprint, "<u4").astype(np.uint32))


def _check(header: Header, rest: int) -> None:
    if header.n_fft % 2 or header.hop > header.n_fft:
        raise _DamagedError(f"a transform of {header.n_fft} and {header.hop}")
    if len(set(header.tags)) != len(header.tags):
        raise _DamagedError("two masks of one tag")
    if len(header.tags) * header.frames * header.bins > MAX_MASK_BYTES:
        raise _DamagedError("masks of over 1 GiB")
    if abs((header.frames - 1) * header.hop - header.samples) > header.hop + header.n_fft:
        raise _DamagedError(f"{header.frames:,} frames for {header.samples:,} samples")
    if len(header.sizes) != 1 + len(header.tags) * header.chunks or sum(header.sizes) != rest:
        raise _DamagedError(f"{rest:,} bytes where it states {sum(header.sizes):,}")


def _unpack(data: bytes, start: int, size: int, expected: int) -> bytes:
    """Exactly as many bytes as are expected; no more are ever made."""
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(data[start : start + size], expected + 1)
    if len(content) != expected or not unpacker.eof:
        raise _DamagedError(f"a chunk of another size than {expected:,} bytes")
    return content
