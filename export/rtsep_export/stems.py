"""The stems of the shipped networks and their General MIDI programs."""

import pretty_midi

STEMS = ("drums", "bass", "guitar", "piano", "other")
PITCHED = ("bass", "guitar", "piano")

# Programs a part may be re-orchestrated to; programs 31 (guitar harmonics) and the
# clavichord-like 7 are left out because most fonts play effects there.
PROGRAMS = {
    "bass": (32, 33, 34, 35, 36, 37, 38, 39),
    "guitar": (24, 25, 26, 27, 28, 29, 30),
    "piano": (0, 1, 2, 3, 4, 5, 6),
    "drums": (0, 0, 0, 8, 16, 24, 25, 32, 40),
}

# What the transcriber names on the drum stem, and the General MIDI percussion keys
# that count as each: kick, snare, closed hi-hat, open hi-hat, tom, cymbal.
DRUM_CLASSES = {
    36: (35, 36),
    38: (37, 38, 39, 40),
    42: (42, 44),
    46: (46,),
    45: (41, 43, 45, 47, 48, 50),
    49: (49, 51, 52, 53, 55, 57, 59),
}
DRUM_CLASS_OF_KEY = {key: name for name, keys in DRUM_CLASSES.items() for key in keys}

# Range of the pitched notes (MIDI 21..108 of the paper, narrowed to what occurs).
PITCHES = {"bass": range(23, 68), "guitar": range(36, 97), "piano": range(21, 109)}


def stem_of(instrument: pretty_midi.Instrument) -> str:
    """The stem that a MIDI track belongs to."""
    if instrument.is_drum:
        return "drums"
    program = instrument.program
    if program <= 7:
        return "piano"
    if 24 <= program <= 31:
        return "guitar"
    if 32 <= program <= 39:
        return "bass"
    return "other"
