"""Notes as events on the mix's sample clock, and as pairs of an onset and an offset."""

from collections.abc import Iterable
from typing import NamedTuple


class NoteEvent(NamedTuple):
    """One note switched on or off.

    Attributes
    ----------
    sample : int
        When it happens, in samples from the start of the mix.
    known_at : int
        When it was decided, on the same clock; never before `sample`.
    stem : str
    pitch : int
        MIDI note number, 0 to 127.
    velocity : int
        1 to 127; 0 switches the note off.
    """

    sample: int
    known_at: int
    stem: str
    pitch: int
    velocity: int


class Note(NamedTuple):
    """One whole note; `onset` and `offset` in samples from the start of the mix."""

    stem: str
    pitch: int
    velocity: int
    onset: int
    offset: int


def collect_notes(events: Iterable[NoteEvent]) -> list[Note]:
    """Pair note-ons with note-offs.

    Parameters
    ----------
    events : iterable of NoteEvent
        In the order in which a tracker gave them, to the end of its flush.

    Returns
    -------
    list of Note
        Sorted by onset, then stem and pitch.

    Raises
    ------
    ValueError
        A note-on while the same note sounds, a note-off without a note, or a note
        that is never switched off.
    """
    sounding: dict[tuple[str, int], NoteEvent] = {}
    notes: list[Note] = []
    for event in events:
        key = (event.stem, event.pitch)
        if event.velocity:
            if key in sounding:
                raise ValueError(f"{event} while that note sounds; expected its note-off first")
            sounding[key] = event
        else:
            start = sounding.pop(key, None)
            if start is None:
                raise ValueError(f"{event} of a note that does not sound; expected its note-on")
            notes.append(Note(*key, start.velocity, start.sample, event.sample))
    if sounding:
        raise ValueError(f"{len(sounding)} notes without an end; flush the tracker first")
    return sorted(notes, key=lambda note: (note.onset, note.stem, note.pitch))
