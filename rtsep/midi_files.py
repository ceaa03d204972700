"""Notes as a standard MIDI file: one track and one channel a stem.

The file is of type 1 at 120 beats a minute and 960 ticks a beat, so that a tick is
1/1920 s: 25 samples at 48 kHz.  Each time is the nearest tick to the real time.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from mido import Message, MetaMessage, MidiFile, MidiTrack

from rtsep.general_midi import CHANNELS, DRUM_CHANNEL, PROGRAMS, assign_channels
from rtsep.note_events import Note
from rtsep.output_file import replacing

TICKS_PER_BEAT = 960
BEAT_US = 500_000
TICKS_PER_SECOND = TICKS_PER_BEAT * 1_000_000 // BEAT_US


def write_midi(
    path: Path,
    notes: Sequence[Note],
    sample_rate: int,
    stems: Sequence[str],
    *,
    drums: Collection[str] = ("drums",),
) -> None:
    """Write notes as a MIDI file, whole or not at all.

    Parameters
    ----------
    path : Path
        Replaced if it is there.
    notes : sequence of Note
        In any order; each of one of `stems`.
    sample_rate : int
        Of the notes' times, in Hz.
    stems : sequence of str
        One track each, in this order, also where a stem has no notes.
    drums : collection of str
        Stems that play on the drum channel; the others get channels in order.

    Raises
    ------
    OutputError
        The file cannot be written.
    ValueError
        A note of an unknown stem, or more pitched stems than MIDI has channels.
    """
    unknown = {note.stem for note in notes} - set(stems)
    if unknown:
        raise ValueError(f"notes of {sorted(unknown)}; expected stems among {list(stems)}")
    if sum(stem not in drums for stem in stems) >= CHANNELS:
        raise ValueError(f"{len(stems)} stems; expected at most 15 that are not drums")
    channels = assign_channels(stems, drums)

    file = MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT, charset="utf-8")
    file.tracks.append(
        MidiTrack(
            [
                MetaMessage("set_tempo", tempo=BEAT_US),
                MetaMessage("time_signature", numerator=4, denominator=4),
            ]
        )
    )
    for stem in stems:
        own = [note for note in notes if note.stem == stem]
        file.tracks.append(_track(stem, own, sample_rate, channels[stem]))
    with replacing(path) as part:
        file.save(part)


def _track(stem: str, notes: Sequence[Note], sample_rate: int, channel: int) -> MidiTrack:
    track = MidiTrack([MetaMessage("track_name", name=stem)])
    if channel != DRUM_CHANNEL:
        track.append(Message("program_change", channel=channel, program=PROGRAMS.get(stem, 0)))
    timed = []
    for note in notes:
        on = _ticks(note.onset, sample_rate)
        # A note shorter than a tick still lasts one.
        off = max(on + 1, _ticks(note.offset, sample_rate))
        timed.append((on, note.pitch, note.velocity))
        timed.append((off, note.pitch, 0))
    now = 0
    # Where a note ends as it is struck again, the end comes first.
    for tick, pitch, velocity in sorted(timed, key=lambda event: (event[0], event[2] > 0)):
        kind = "note_on" if velocity else "note_off"
        track.append(Message(kind, channel=channel, note=pitch, velocity=velocity, time=tick - now))
        now = tick
    return track


def _ticks(sample: int, sample_rate: int) -> int:
    return (sample * TICKS_PER_SECOND * 2 + sample_rate) // (2 * sample_rate)
