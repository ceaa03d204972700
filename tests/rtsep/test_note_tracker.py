"""The note tracker: what holds for any input, and how well it does on ideal input."""

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsep.manifest import Levels, Notes
from rtsep.note_events import Note, NoteEvent, collect_notes
from rtsep.note_tracker import NoteTracker, StemSettings, TrackerSettings

BASS = Notes(stem="bass", pitches=(40, 41, 42, 43), drums=False)
DRUMS = Notes(stem="drums", pitches=(36, 42), drums=True)
RATE = 48_000
PLAIN = StemSettings(min_length_s=0.05, max_length_s=2.0)
SETTINGS = TrackerSettings(
    pitched=PLAIN,
    drums=StemSettings(frame_on=0.0, frame_off=0.0, min_length_s=0.05, max_length_s=0.05),
)


def track(tracker, rolls, end):
    """Every event of a stream of frames; `rolls` is [3, frames, notes]."""
    events = []
    for onset, frame, velocity in zip(*rolls, strict=True):
        events += tracker.push(onset, frame, velocity)
    return events + tracker.flush(end)


def random_rolls(seed, frames, n, style):
    rng = np.random.default_rng(seed)
    rolls = rng.random((3, frames, n), np.float32)
    if style == "sparse":
        rolls = rolls**8
    elif style == "flat":
        rolls = np.round(rolls)
    elif style == "slow":
        rolls = np.repeat(rolls, 5, axis=1)[:, :frames]
    elif style == "wild":
        bad = np.array([np.nan, np.inf, -np.inf, -3.0, 7.0], np.float32)
        rolls = np.where(rng.random(rolls.shape) < 0.3, rng.choice(bad, rolls.shape), rolls)
    return np.ascontiguousarray(rolls, np.float32)


STEM_SETTINGS = st.builds(
    lambda onset, on, share, release, shortest, longer: StemSettings(
        onset=onset,
        frame_on=on,
        frame_off=on * share,
        release_frames=release,
        min_length_s=shortest,
        max_length_s=shortest * longer,
    ),
    onset=st.floats(0.05, 1.0),
    on=st.floats(0.0, 1.0),
    share=st.floats(0.0, 1.0),
    release=st.integers(1, 4),
    shortest=st.floats(1e-5, 0.1),
    longer=st.floats(1.0, 20.0),
)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    style=st.sampled_from(["even", "sparse", "flat", "slow", "wild"]),
    frames=st.integers(0, 150),
    hop=st.sampled_from([1, 64, 441, 512, 1024]),
    lookahead=st.integers(0, 3000),
    delay_frames=st.integers(0, 3),
    pitched=STEM_SETTINGS,
    beyond=st.integers(-2000, 2000) | st.integers(0, 500_000),
)
def test_what_holds_for_any_stream(
    seed, style, frames, hop, lookahead, delay_frames, pitched, beyond
):
    chosen = TrackerSettings(pitched=pitched, drums=SETTINGS.drums)
    tracker = NoteTracker(
        [BASS, DRUMS],
        hop=hop,
        lookahead=lookahead,
        sample_rate=RATE,
        delay_frames=delay_frames,
        settings=chosen,
    )
    rolls = random_rolls(seed, frames, tracker.n_notes, style)
    end = max(0, frames * hop + beyond)
    events = track(tracker, rolls, end)

    assert all(0 <= event.sample <= event.known_at for event in events)
    assert all(0 <= event.velocity <= 127 for event in events)
    in_order = sorted(events, key=lambda e: (e.known_at, e.sample, e.velocity > 0))
    assert events == in_order
    late = [event.known_at - event.sample for event in events if event.velocity]
    assert max(late, default=0) <= tracker.decision_delay_samples

    sounding: dict[tuple[str, int], NoteEvent] = {}
    last_off: dict[tuple[str, int], int] = {}
    for event in events:
        key = (event.stem, event.pitch)
        if event.velocity:
            assert key not in sounding
            assert event.sample >= last_off.get(key, 0)
            sounding[key] = event
        else:
            length = event.sample - sounding.pop(key).sample
            held = chosen.drums if event.stem == "drums" else chosen.pitched
            assert length >= max(1, round(held.min_length_s * RATE))
            assert length <= max(1, round(held.max_length_s * RATE))
            last_off[key] = event.sample
    assert not sounding

    assert tracker.flush(end) == []
    tracker.reset()
    for frame in rolls.swapaxes(0, 1)[: frames // 2]:
        tracker.push(*frame)
    tracker.reset()
    assert track(tracker, rolls, end) == events


def test_what_is_not_a_number_counts_as_zero():
    rolls = random_rolls(3, 200, 6, "wild")
    cleaned = np.where(np.isnan(rolls), np.float32(0.0), rolls).clip(0.0, 1.0)
    tracker = NoteTracker([BASS, DRUMS], hop=512, lookahead=0, sample_rate=RATE)
    events = track(tracker, rolls, 200 * 512)
    tracker.reset()
    assert events
    assert track(tracker, cleaned, 200 * 512) == events


def test_the_decision_delay_bound_is_tight():
    """An onset right between two frames, the later one a hair higher."""
    tracker = NoteTracker([BASS], hop=512, lookahead=1024, sample_rate=RATE)
    onset = np.zeros((8, 4), np.float32)
    onset[4:6, 0] = 0.9, 0.9001
    events = track(tracker, np.stack([onset, np.ones_like(onset), onset]), 8 * 512)
    assert tracker.decision_delay_samples == 1024 + 512 + 256
    (on,) = [event for event in events if event.velocity]
    assert tracker.decision_delay_samples - 2 <= on.known_at - on.sample
    assert on.known_at - on.sample <= tracker.decision_delay_samples


def test_a_late_network_is_known_later_by_as_much():
    rolls = random_rolls(5, 100, 6, "even")
    rows = []
    for delay_frames in (0, 3):
        tracker = NoteTracker(
            [BASS, DRUMS], hop=512, lookahead=0, sample_rate=RATE, delay_frames=delay_frames
        )
        rows.append([event for frame in rolls.swapaxes(0, 1) for event in tracker.push(*frame)])
    assert rows[0]
    assert [event._replace(known_at=event.known_at + 3 * 512) for event in rows[0]] == rows[1]


def ideal_rolls(notes, stems, hop, lookahead, frames, shape, rng):
    """What a perfect transcriber would say: onsets blurred, frames by their share."""
    moments = (np.arange(frames) + 1.0) * hop - lookahead
    keys = [(stem.stem, pitch) for stem in stems for pitch in stem.pitches]
    rolls = np.zeros((3, frames, len(keys)), np.float32)
    for note in notes:
        column = keys.index((note.stem, note.pitch))
        away = np.abs(moments - note.onset) / hop
        blur = {
            "triangle": np.maximum(0.0, 1.0 - away / 1.5),
            "gauss": np.exp(-0.5 * away**2),
        }[shape]
        rolls[0, :, column] = np.maximum(rolls[0, :, column], blur)
        inside = np.minimum(moments + hop / 2, note.offset) - np.maximum(
            moments - hop / 2, note.onset
        )
        rolls[1, :, column] += np.clip(inside / hop, 0.0, 1.0)
        rolls[2, blur > 0.2, column] = note.velocity / 127
    noise = 0.1 * rng.random(rolls.shape, np.float32)
    return np.clip(rolls * 0.85 + noise, 0.0, 1.0).astype(np.float32)


def random_notes(rng, stems, length_s):
    notes = []
    for stem in stems:
        for pitch in stem.pitches:
            now = rng.uniform(0.05, 0.5)
            while now < length_s - 1.2:
                duration = 0.05 if stem.drums else rng.uniform(0.08, 1.0)
                onset, offset = round(now * RATE), round((now + duration) * RATE)
                notes.append(Note(stem.stem, pitch, int(rng.integers(20, 128)), onset, offset))
                now += duration + (0.0 if rng.random() < 0.3 else rng.uniform(0.05, 0.5))
                now += 0.05 if stem.drums else 0.0
    return notes


@pytest.mark.parametrize("shape", ["triangle", "gauss"])
@pytest.mark.parametrize(("hop", "lookahead"), [(512, 0), (512, 1024)])
def test_ideal_rolls_come_back_as_their_notes(shape, hop, lookahead):
    rng = np.random.default_rng(11)
    stems = [Notes(stem="bass", pitches=tuple(range(40, 52)), drums=False), DRUMS]
    length_s = 20.0
    truth = random_notes(rng, stems, length_s)
    frames = int(length_s * RATE) // hop
    rolls = ideal_rolls(truth, stems, hop, lookahead, frames, shape, rng)
    tracker = NoteTracker(stems, hop=hop, lookahead=lookahead, sample_rate=RATE)
    found = collect_notes(track(tracker, rolls, frames * hop))

    for stem in ("bass", "drums"):
        reference, ref_hz = as_mir_eval(truth, stem)
        estimated, est_hz = as_mir_eval(found, stem)
        score = mir_eval.transcription.precision_recall_f1_overlap
        assert score(reference, ref_hz, estimated, est_hz, offset_ratio=None)[2] >= 0.97
        assert score(reference, ref_hz, estimated, est_hz)[2] >= 0.95
        pairs = mir_eval.transcription.match_notes(
            reference, ref_hz, estimated, est_hz, offset_ratio=None
        )
        error = np.array([estimated[j, 0] - reference[i, 0] for i, j in pairs])
        assert np.percentile(np.abs(error), 99) <= 0.003
        assert abs(np.mean(error)) <= 0.0005
    loudness = {(n.stem, n.pitch, n.onset // 2400): n.velocity for n in truth}
    gaps = [
        abs(n.velocity - (loudness[key] * 0.85 + 6.35))
        for n in found
        if (key := (n.stem, n.pitch, n.onset // 2400)) in loudness
    ]
    assert np.percentile(gaps, 99) <= 8


def as_mir_eval(notes, stem):
    chosen = [note for note in notes if note.stem == stem]
    times = np.array([(note.onset, note.offset) for note in chosen]) / RATE
    return times, 440.0 * 2.0 ** ((np.array([note.pitch for note in chosen]) - 69) / 12)


def one_note(onset, frame, settings=SETTINGS, end=None):
    """Notes of a single pitch from its two probability curves, at hop 480 (10 ms)."""
    tracker = NoteTracker(
        [Notes(stem="bass", pitches=(40,), drums=False)],
        hop=480,
        lookahead=480,  # frame k describes sample 480 * k
        sample_rate=RATE,
        settings=settings,
    )
    curves = np.array([onset, frame, np.full(len(onset), 0.5)], np.float32)[:, :, None]
    events = track(tracker, curves, len(onset) * 480 if end is None else end)
    return [(note.onset / 480, note.offset / 480, note.velocity) for note in collect_notes(events)]


def test_hysteresis_holds_a_note_between_the_levels():
    frame = [0.0] * 5 + [0.9] * 10 + [0.22] * 10 + [0.0] * 10
    onset = [0.0] * 5 + [1.0] + [0.0] * 29
    assert one_note(onset, frame) == [(5.0, pytest.approx(24.09, abs=0.01), 64)]
    weak = [min(level, 0.22) for level in frame]
    assert one_note(onset, weak) == []


def test_a_single_weak_frame_does_not_end_a_note():
    onset = [0.0, 1.0] + [0.0] * 30
    frame = [0.0] + [0.9] * 10 + [0.0] + [0.9] * 10 + [0.0] * 10
    ((_, offset, _),) = one_note(onset, frame)
    assert offset == pytest.approx(21.78, abs=0.01)


def test_a_note_struck_again_is_split_there():
    onset = np.zeros(40)
    onset[[5, 20]] = 0.9
    assert one_note(onset, np.full(40, 0.9)) == [(5.0, 20.0, 64), (20.0, 40.0, 64)]
    onset[7] = 0.9  # too soon after the first: the same note
    assert one_note(onset, np.full(40, 0.9)) == [(5.0, 20.0, 64), (20.0, 40.0, 64)]


def test_a_note_struck_again_as_it_fades_ends_where_it_faded():
    onset, frame = np.zeros(40), np.full(40, 0.9)
    onset[[5, 20]] = 0.9
    frame[20] = 0.0  # 19.78: under the level, one frame short of a release
    frame[22] = 0.0  # one more such frame must not add to the one before
    first, second = one_note(onset, frame)
    assert first == (5.0, pytest.approx(19.78, abs=0.01), 64)
    assert second == (20.0, 40.0, 64)


def test_a_note_that_never_stops_is_stopped():
    onset = np.zeros(400)
    onset[5] = 1.0
    assert one_note(onset, np.ones(400)) == [(5.0, 205.0, 64)]


def test_flush_takes_the_last_frame_and_ends_at_the_end_of_the_mix():
    onset = np.zeros(20)
    onset[[4, 19]] = 1.0
    assert one_note(onset, np.ones(20), end=19 * 480 - 100) == [
        (4.0, 19.0, 64),
        (19.0, 24.0, 64),
    ]
    assert one_note(onset[:19], np.ones(19), end=18 * 480 + 100) == [(4.0, 18 + 100 / 480, 64)]


def test_flush_ends_a_fading_note_where_it_began_to_fade():
    onset, frame = np.zeros(20), np.ones(20)
    onset[4] = 1.0
    frame[19] = 0.0
    patient = TrackerSettings(pitched=StemSettings(release_frames=4))
    ((_, offset, _),) = one_note(onset, frame, patient)
    assert offset == pytest.approx(18.8, abs=0.01)


def test_a_stem_may_have_its_own_settings():
    onset = np.zeros(30)
    onset[5] = 0.3
    assert one_note(onset, np.ones(30)) == []
    eager = TrackerSettings(pitched=PLAIN, stems={"bass": StemSettings(onset=0.2)})
    assert len(one_note(onset, np.ones(30), eager)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"onset": 0.0},
        {"frame_on": 0.2, "frame_off": 0.3},
        {"release_frames": 0},
        {"min_length_s": 0.0},
        {"max_length_s": 0.01},
    ],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="expected"):
        StemSettings(**wrong)


def test_a_pitch_listed_twice():
    with pytest.raises(ValueError, match="twice"):
        NoteTracker([BASS, BASS], hop=512, lookahead=0, sample_rate=RATE)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([(0, 9), (5, 9)], "sounds"),
        ([(0, 0)], "does not sound"),
        ([(0, 9)], "without an end"),
    ],
)
def test_events_that_do_not_pair(events, reason):
    with pytest.raises(ValueError, match=reason):
        collect_notes([NoteEvent(at, at, "bass", 40, velocity) for at, velocity in events])


def test_a_models_own_levels_hold_unless_a_stem_is_set_by_name() -> None:
    levels = Levels(onset=0.7, frame_on=0.3, frame_off=0.1)
    bass = Notes(stem="bass", pitches=(40,), drums=False, levels=levels)
    chosen = TrackerSettings().of(bass)
    assert (chosen.onset, chosen.frame_on, chosen.frame_off) == (0.7, 0.3, 0.1)
    assert chosen.min_length_s == TrackerSettings().pitched.min_length_s
    own = StemSettings(onset=0.2)
    assert TrackerSettings(stems={"bass": own}).of(bass) is own
