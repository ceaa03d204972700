"""Whether an audio file is all there.

The decoders behind `rtsep.audio_files` deliver zeros, without a word, for audio that
a file's header promises and its body lacks.  A file cut short (a download that
stopped, a disk that filled up) is told from a whole one here, by the structure of its
container, without decoding:

* WAV, AIFF: the audio chunk must hold as many bytes as it states (a size of 0 or
  2^32 - 1, as programs write that stream into a pipe, states nothing);
* FLAC: the last frame must end with the file, with the right CRC-16, at the sample
  that STREAMINFO states (RFC 9639, sections 8.2, 9.1 and 9.3);
* Ogg: the last page must be complete and flagged as the end (RFC 3533, section 6);
* MP3: the last frame must be complete, and there must be as many frames as the
  Xing/Info header states.

Other formats pass.
"""

import mmap
import struct
from pathlib import Path

Bytes = mmap.mmap | bytes

_UNSTATED = (0, 0xFFFFFFFF)
_PAGE_REACH = 65_536  # bytes; the longest Ogg page has 65,307
_FRAME_REACH = 1 << 20  # bytes; a FLAC frame of 8 channels of 65,535 samples is rare


def what_is_missing(path: Path) -> str:
    """How a file is cut short, in a few words; empty when it is whole.

    Parameters
    ----------
    path : Path
        A readable file of any kind, not empty.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        head = data[:12]
        try:
            if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
                return _riff(data, "<", b"data")
            if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
                return _riff(data, ">", b"SSND")
            if head[:4] == b"fLaC":
                return _flac(data)
            if head[:4] == b"OggS":
                return _ogg(data)
            if head[:3] == b"ID3" or _mp3_frame(head, 0)[0]:
                return _mp3(data)
        except (IndexError, struct.error):
            return "it ends within a header"
    return ""


def _riff(data: Bytes, order: str, wanted: bytes) -> str:
    """Walk the chunks of a RIFF or IFF file up to the one with the audio."""
    position, long_size = 12, None
    while position + 8 <= len(data):
        name, size = struct.unpack_from(f"{order}4sI", data, position)
        body = position + 8
        if name == b"ds64":
            long_size = struct.unpack_from("<8xQ", data, body)[0]
        if name == wanted:
            stated = long_size if long_size is not None else size
            held = len(data) - body
            if stated in _UNSTATED or held >= stated:
                return ""
            return f"{held:,} of {stated:,} bytes of audio"
        position = body + size + size % 2
    return "no audio before its end"


def _flac(data: Bytes) -> str:
    total = int.from_bytes(data[21:26], "big") & ((1 << 36) - 1)
    block_size = struct.unpack_from(">H", data, 8)[0]
    end = len(data) - (128 if data[-128:-125] == b"TAG" else 0)
    longest = int.from_bytes(data[15:18], "big")
    start = max(42, end - (longest if longest else _FRAME_REACH) - 16)
    position = end
    while (position := data.rfind(b"\xff", start, position)) >= 0:
        reached = _flac_frame_end(data[position:end], block_size)
        if reached and _crc(data[position:end], 16, 0x8005) == 0:
            if total and reached < total:
                return f"{reached:,} of {total:,} samples"
            return ""
    return "its last frame is incomplete"


def _flac_frame_end(frame: bytes, block_size: int) -> int:
    """The sample at which a FLAC frame ends; 0 where no frame starts."""
    if len(frame) < 6 or frame[0] != 0xFF or frame[1] not in (0xF8, 0xF9):
        return 0
    extra = 8 - (~frame[4] & 0xFF).bit_length()  # leading ones of the coded number
    count = max(extra, 1)
    if extra == 1 or extra > 7:
        return 0
    number = frame[4] & (0x7F >> extra)
    for byte in frame[5 : 4 + count]:
        number = number << 6 | byte & 0x3F
    at, code = 4 + count, frame[2] >> 4
    length = 192 if code == 1 else 144 << code if code < 6 else 1 << code
    if code in (6, 7):
        length = int.from_bytes(frame[at : at + code - 5], "big") + 1
        at += code - 5
    at += {12: 1, 13: 2, 14: 2}.get(frame[2] & 15, 0)
    if at >= len(frame) or _crc(frame[: at + 1], 8, 0x07):
        return 0
    variable = frame[1] & 1
    return (number if variable else number * block_size) + length


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    """Remainder of `data`, most significant bit first; 0 when it ends with its CRC."""
    top, mask, value = 1 << (bits - 1), (1 << bits) - 1, 0
    table = []
    for byte in range(256):
        entry = byte << (bits - 8)
        for _ in range(8):
            entry = (entry << 1 ^ (polynomial if entry & top else 0)) & mask
        table.append(entry)
    for byte in data:
        value = (value << 8 ^ table[value >> (bits - 8) ^ byte]) & mask
    return value


def _ogg(data: Bytes) -> str:
    position = data.rfind(b"OggS", max(0, len(data) - _PAGE_REACH))
    if position < 0:
        return "its last page is missing"
    flags, segments = data[position + 5], data[position + 26]
    lengths = data[position + 27 : position + 27 + segments]
    page_end = position + 27 + segments + sum(lengths)
    if len(lengths) < segments or page_end > len(data):
        return "its last page is incomplete"
    return "" if flags & 4 else "its last page is missing"


_BITRATES_KBPS = {  # (MPEG-1, layer): rates for codes 1 to 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _mp3_frame(data: Bytes, at: int) -> tuple[int, int]:
    """Length in bytes and offset of the Xing header of the MPEG audio frame at `at`."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] < 0xE0:
        return 0, 0
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    bitrate, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or layer == 4 or rate == 3 or bitrate in (0, 15):
        return 0, 0
    mpeg1 = version == 3
    hertz = (44_100, 48_000, 32_000)[rate] >> (0 if mpeg1 else 1 if version == 2 else 2)
    bits_per_second = 1000 * _BITRATES_KBPS[mpeg1, layer][bitrate - 1]
    padding = data[at + 2] >> 1 & 1
    if layer == 1:
        return (12 * bits_per_second // hertz + padding) * 4, 0
    samples = 576 if layer == 3 and not mpeg1 else 1152
    mono = data[at + 3] >> 6 == 3
    side = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    return samples // 8 * bits_per_second // hertz + padding, 4 + side


def _mp3(data: Bytes) -> str:
    position = 0
    while data[position : position + 3] == b"ID3":  # syncsafe size, 10 bytes of header
        size = 0
        for byte in data[position + 6 : position + 10]:
            size = size << 7 | byte & 0x7F
        position += 10 + size
    if position >= len(data):
        return "no audio before its end"
    length, xing = _mp3_frame(data, position)
    stated = 0
    tag = data[position + xing : position + xing + 12]
    if length and tag[:4] in (b"Xing", b"Info") and tag[7] & 1:
        stated = int.from_bytes(tag[8:12], "big")
        position += length
    frames = 0
    while length := _mp3_frame(data, position)[0]:
        if position + length > len(data):
            return f"its last frame (after {frames:,}) is incomplete"
        position += length
        frames += 1
    at_the_end = len(data) - position < 4
    # Some encoders count the header's own frame too.
    if at_the_end and frames < stated - 1:
        return f"{frames:,} of {stated:,} frames"
    return ""
