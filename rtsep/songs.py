"""One audio file in, a folder of stems and a MIDI file out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from rtsep.audio_files import Audio, AudioReader, AudioWriter, Format
from rtsep.bundle import Bundle, load_bundle, of_task, shipped_bundles
from rtsep.engine import Engine
from rtsep.errors import AudioError, SetupError
from rtsep.fingerprint import FRAMES_PER_S, LARGEST_DISTANCE, Listener
from rtsep.mask_file import MaskFile
from rtsep.midi_files import write_midi
from rtsep.note_events import Note, NoteEvent, collect_notes
from rtsep.output_folder import OutputFolder
from rtsep.rates import native_rate
from rtsep.resample import Resampler
from rtsep.separate import separate_audio

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Song:
    """What became of one file.

    Attributes
    ----------
    stems : dict of str to Path
        The audio files written, by stem.
    midi : Path or None
        The MIDI file, where notes were asked for.
    notes : list of Note
        In samples of the file.
    frames, sample_rate : int
        The file's length and rate.
    wall_s : float
        Time that it all took.
    remarks : tuple of str
        What the listener should know: clipping, frames that a model failed.
    """

    stems: dict[str, Path]
    midi: Path | None
    notes: list[Note]
    frames: int
    sample_rate: int
    wall_s: float
    remarks: tuple[str, ...]

    @property
    def speed(self) -> float:
        """Seconds of audio done in a second."""
        return self.frames / self.sample_rate / max(self.wall_s, 1e-9)


def find_transcriber(name_or_path: str | None = None) -> Bundle:
    """The transcriber named, or the one that comes with the package.

    Raises
    ------
    BundleError
        It cannot be loaded or is no transcriber.
    SetupError
        None was named and none is shipped.
    """
    if name_or_path is not None:
        return of_task(load_bundle(name_or_path), "transcribe")
    for name in shipped_bundles():
        bundle = load_bundle(name)
        if bundle.manifest.task == "transcribe":
            return bundle
    raise SetupError(
        "no transcriber comes with this rtsep",
        remedy="name one with --transcriber, or go without notes with --no-midi",
    )


def find_separator(name_or_path: str) -> Bundle:
    """The separator named.

    Raises
    ------
    BundleError
        It cannot be loaded or is no separator.
    """
    return of_task(load_bundle(name_or_path), "separate")


def check_same_song(masks: MaskFile, source: Path) -> None:
    """Refuse masks of another song.

    Raises
    ------
    AudioError
        The file cannot be read, or does not sound like the song of the masks.
    """
    with AudioReader(source) as reader:
        rate = native_rate(reader.sample_rate)
        listener = Listener(rate)
        resampler = None
        if rate != reader.sample_rate:
            resampler = Resampler(reader.sample_rate, rate, reader.channels)
        words = []
        for block in reader.blocks():
            block = block if resampler is None else resampler.process(block)
            words.append(listener.push(block.mean(axis=0, dtype=np.float32)))
    heard = np.concatenate(words)
    known = masks.fingerprint
    n = min(len(heard), len(known))
    apart = float(np.bitwise_count(heard[:n] ^ known[:n]).mean()) / 32 if n else 1.0
    if apart > LARGEST_DISTANCE or abs(len(heard) - len(known)) > FRAMES_PER_S:
        raise AudioError(
            f"{source} is not the song of these masks ({100 * apart:.0f}% of its fingerprint "
            f"differs, {len(heard) / FRAMES_PER_S:.0f} s for {len(known) / FRAMES_PER_S:.0f} s)",
            "the song that they were made of",
            "make masks of this one with 'rtsep steer'",
        )


def separate_song(
    engine: Engine,
    transcriber: Bundle | None,
    source: Path,
    folder: Path,
    *,
    stems: Sequence[str] | None = None,
    file_format: Format = "wav",
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Song:
    """Write a file's stems, and its notes where the engine transcribes, to `folder`.

    The folder holds ``<stem>.<format>`` for every stem and ``<folder>.mid``, and
    appears only when all of them are complete.

    Parameters
    ----------
    engine : Engine
        With a separator; prepared here.
    transcriber : Bundle or None
        The engine's; its stems become the tracks of the MIDI file.
    source, folder : Path
    stems : sequence of str, optional
        Write these only, audio and notes.
    file_format : {"wav", "flac"}
    overwrite : bool
        Replace a folder that is there already.
    on_progress : callable, optional
        Given the samples taken so far and the (estimated) length of the file.

    Raises
    ------
    AudioError, OutputError
    """
    started = perf_counter()
    wanted = tuple(stems) if stems is not None else engine.stems
    with (
        AudioReader(source) as reader,
        OutputFolder(folder, overwrite=overwrite) as out,
        ExitStack() as stack,
    ):
        writers: dict[str, AudioWriter] = {}
        for stem in wanted:
            path = out.path / f"{stem}.{file_format}"
            writers[stem] = AudioWriter(path, reader.sample_rate, reader.channels, file_format)
            stack.callback(writers[stem].abandon)
        rows = [(engine.stems.index(stem), writer) for stem, writer in writers.items()]
        events: list[NoteEvent] = []
        blocks = _counted(reader, on_progress)
        frames = 0
        for block in separate_audio(engine, blocks, reader.sample_rate, reader.channels):
            events.extend(block.notes)
            frames += block.stems.shape[2]
            if block.stems.shape[2]:
                for row, writer in rows:
                    writer.write(block.stems[row])
        for writer in writers.values():
            writer.close()
        notes = [note for note in collect_notes(events) if stems is None or note.stem in wanted]
        midi = f"{folder.name}.mid"
        if transcriber is not None:
            write_notes(out.path / midi, notes, reader.sample_rate, transcriber, stems)
        return Song(
            stems={stem: folder / writer.path.name for stem, writer in writers.items()},
            midi=None if transcriber is None else folder / midi,
            notes=notes,
            frames=frames,
            sample_rate=reader.sample_rate,
            wall_s=perf_counter() - started,
            remarks=(*_clipping(writers), *_remarks(engine)),
        )


def transcribe_song(
    engine: Engine,
    transcriber: Bundle,
    source: Path,
    target: Path,
    *,
    on_progress: OnProgress | None = None,
) -> Song:
    """Write a file's notes to a MIDI file.

    Parameters
    ----------
    engine : Engine
        With a transcriber and no separator; prepared here.
    transcriber : Bundle
        The engine's.
    source, target : Path
        `target` is replaced when it is there.
    on_progress : callable, optional
        As for `separate_song`.

    Raises
    ------
    AudioError, OutputError
    """
    started = perf_counter()
    with AudioReader(source) as reader:
        taken = 0

        def count(done: int, total: int) -> None:
            nonlocal taken
            taken = done
            if on_progress is not None:
                on_progress(done, total)

        events: list[NoteEvent] = []
        blocks = _counted(reader, count)
        for block in separate_audio(engine, blocks, reader.sample_rate, reader.channels):
            events.extend(block.notes)
        notes = collect_notes(events)
        write_notes(target, notes, reader.sample_rate, transcriber)
        return Song(
            stems={},
            midi=target,
            notes=notes,
            frames=taken,
            sample_rate=reader.sample_rate,
            wall_s=perf_counter() - started,
            remarks=_remarks(engine),
        )


def write_notes(
    path: Path,
    notes: Sequence[Note],
    sample_rate: int,
    transcriber: Bundle,
    stems: Sequence[str] | None = None,
) -> None:
    """Write notes as MIDI, a track for every stem that the transcriber hears.

    Parameters
    ----------
    stems : sequence of str, optional
        Tracks for these only.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    heard = [part for part in transcriber.manifest.notes if stems is None or part.stem in stems]
    write_midi(
        path,
        notes,
        sample_rate,
        [part.stem for part in heard],
        drums=[part.stem for part in heard if part.drums],
    )


def _counted(reader: AudioReader, on_progress: OnProgress | None) -> Iterator[Audio]:
    done = 0
    for block in reader.blocks():
        yield block
        done += block.shape[1]
        if on_progress is not None:
            on_progress(done, max(done, reader.frames))


def _clipping(writers: dict[str, AudioWriter]) -> tuple[str, ...]:
    return tuple(
        f"{stem}: {writer.clipped:,} samples beyond full scale were clipped; WAV would keep them"
        for stem, writer in writers.items()
        if writer.clipped
    )


def _remarks(engine: Engine) -> tuple[str, ...]:
    remarks = []
    if engine.misses:
        remarks.append(
            f"the model's output was unusable {engine.misses:,} times; "
            "there the mix is in the residual and no note is heard"
        )
    if engine.bad_samples:
        remarks.append(f"{engine.bad_samples:,} absurdly loud samples were silenced")
    return tuple(remarks)
