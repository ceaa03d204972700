"""Songs with their sources, one channel at 44.1 kHz, from the layouts that they come in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from pedalboard.io import AudioFile

from rtsep.errors import AudioError, SetupError
from rtsep_export.measures import Audio, is_silent, loudest
from rtsep_export.recordings import read_mono
from rtsep_export.steer.autoencoder import SAMPLE_RATE
from rtsep_export.steer.tagger_training import FAMILIES
from rtsep_export.stems import STEMS

STRINGS = FAMILIES["strings"]
PLAYERS = ("violin", "viola", "cello", "strings")
MUSDB = ("vocals", "bass", "drums")
# Slakh's classes of instruments that are one of the paper's sources.
SLAKH = {
    "Bass": "bass",
    "Drums": "drums",
    "Guitar": "guitar",
    "Piano": "piano",
    "Strings": "strings",
    "Strings (continued)": "strings",
}


@dataclass(frozen=True)
class Song:
    """A mixture and those of its sources that have a name.

    Attributes
    ----------
    mixture : float32 array, shape (samples,)
    sources : dict of str to float32 array
        Of the mixture's length; none is silent, and none is all of it.
    """

    name: str
    mixture: Audio
    sources: dict[str, Audio]


def excerpt(song: Song, seconds: float) -> Song:
    """The stretch of a song in which most sounds."""
    length = round(seconds * SAMPLE_RATE)
    if len(song.mixture) <= length:
        return song
    part = loudest(song.mixture, length)
    sources = {name: audio[part] for name, audio in song.sources.items()}
    return _song(song.name, song.mixture[part], sources)


def rendered_songs(folder: Path, limit: int) -> Iterator[Song]:
    """Songs of a split that ``rtsep-export render`` wrote, spread over their names.

    What else they have is strings where it is nothing but strings.
    """
    for place in _some(folder.glob("[!.]*/mix.flac"), limit, f"rendered songs in {folder}"):
        song = place.parent
        programs = json.loads((song / "recipe.json").read_text())["programs"]
        files = {stem: song / f"{stem}.flac" for stem in STEMS[:-1] if stem in programs}
        if programs.get("other") and all(p in STRINGS for p in programs["other"]):
            files["strings"] = song / "other.flac"
        sources = {name: read_mono(path, SAMPLE_RATE) for name, path in files.items()}
        yield _song(song.name, read_mono(place, SAMPLE_RATE), sources)


def real_songs(folder: Path) -> Iterator[Song]:
    """Recordings with a file a source beside ``mixture.flac``, named as what plays.

    Those of a lower sample rate are left out.
    """
    for place in _some(folder.glob("*/mixture.flac"), 1 << 20, f"recordings in {folder}"):
        files: dict[str, list[Path]] = {}
        for path in sorted(place.parent.glob("*.flac")):
            name = "strings" if path.stem.startswith(PLAYERS) else path.stem
            if name in (*STEMS[:-1], "vocals", "strings"):
                files.setdefault(name, []).append(path)
        with AudioFile(str(place)) as file:
            too_low = file.samplerate < SAMPLE_RATE
        if files and not too_low:
            yield _song(place.parent.name, read_mono(place, SAMPLE_RATE), _sums(files))


def musdb_songs(root: Path, limit: int) -> Iterator[Song]:
    """The test songs of MUSDB18-HQ: ``ROOT/test/SONG/{mixture,vocals,bass,drums}.wav``."""
    for place in _some(root.glob("test/*/mixture.wav"), limit, f"songs in {root / 'test'}"):
        sources = {name: read_mono(place.with_name(f"{name}.wav"), SAMPLE_RATE) for name in MUSDB}
        yield _song(place.parent.name, read_mono(place, SAMPLE_RATE), sources)


def slakh_songs(root: Path, limit: int) -> Iterator[Song]:
    """The test songs of Slakh2100 in which all five of the paper's sources play.

    ``ROOT/test/TrackNNNNN/`` with ``metadata.yaml`` and ``stems/S00.flac`` or wav; the
    mixture is the sum of the five, as the paper has it.
    """
    found = 0
    for place in _some(root.glob("test/*/metadata.yaml"), 1 << 20, f"tracks in {root / 'test'}"):
        files = _slakh_files(place)
        if set(files) == set(SLAKH.values()):
            sources = _sums(files)
            yield _song(place.parent.name, np.stack([*sources.values()]).sum(axis=0), sources)
            found += 1
        if found == limit:
            return


def _slakh_files(metadata: Path) -> dict[str, list[Path]]:
    """The stems of a track by source."""
    files: dict[str, list[Path]] = {}
    try:
        stems = yaml.safe_load(metadata.read_text())["stems"]
        named = {
            key: SLAKH[about["inst_class"]]
            for key, about in sorted(stems.items())
            if about.get("inst_class") in SLAKH and about.get("audio_rendered", True)
        }
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise AudioError(f"{metadata}: {error}", "Slakh's metadata") from None
    for key, source in named.items():
        paths = [*metadata.parent.glob(f"stems/{key}.*")]
        if not paths:
            raise AudioError(f"no {metadata.parent / 'stems' / key}.flac", "every stem")
        files.setdefault(source, []).append(paths[0])
    return files


def _sums(files: dict[str, list[Path]]) -> dict[str, Audio]:
    parts = {
        name: [read_mono(path, SAMPLE_RATE) for path in paths] for name, paths in files.items()
    }
    length = min(len(part) for group in parts.values() for part in group)
    return {
        name: np.stack([part[:length] for part in group]).sum(axis=0)
        for name, group in parts.items()
    }


def _song(name: str, mixture: Audio, sources: dict[str, Audio]) -> Song:
    length = min(map(len, (mixture, *sources.values())))
    mixture = mixture[:length]
    heard = {key: audio[:length] for key, audio in sources.items()}
    kept = {k: a for k, a in heard.items() if not is_silent(a) and not is_silent(mixture - a)}
    return Song(name, mixture, kept)


def _some(found: Iterator[Path], limit: int, what: str) -> list[Path]:
    """At most `limit` of the paths, spread evenly over their names."""
    paths = sorted(found)
    if not paths:
        raise SetupError(f"no {what}", "the layout that the help describes")
    count = min(limit, len(paths))
    return [paths[index * len(paths) // count] for index in range(count)]
