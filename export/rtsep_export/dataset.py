"""Which songs make up the rendered data set, and rendering all of them."""

import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import TypeVar

import numpy as np

from rtsep_export.collections import OPEN_COLLECTIONS, Song, list_songs
from rtsep_export.render import TEST_FONTS, TRAIN_FONTS, check_tools, render_song

Job = TypeVar("Job")


@dataclass(frozen=True)
class Plan:
    """How much of a split to render.

    Attributes
    ----------
    bands, pianos, others : int
        Songs with a rhythm section, solo piano songs, and chamber pieces (the last
        two are there to be re-mixed into other songs).
    seconds : float
        Length of every excerpt.
    timbre : int
        As of `rtsep_export.render.render_song`: a few fonts then sound like many.
    """

    bands: int
    pianos: int
    others: int
    seconds: float
    fonts: tuple[str, ...]
    timbre: int = 0


PLANS = {
    "train": Plan(450, 70, 60, 36.0, TRAIN_FONTS, timbre=5),
    "valid": Plan(20, 0, 0, 24.0, TRAIN_FONTS),
    "test": Plan(24, 0, 0, 20.0, TEST_FONTS),
}


def plan_songs(root: Path, split: str, plan: Plan) -> list[Song]:
    """The songs of a split in a fixed, shuffled order, so that any prefix is mixed."""
    songs = [s for s in list_songs(root, OPEN_COLLECTIONS) if s.split == split]
    order = np.random.default_rng(7).permutation(len(songs))
    songs = [songs[i] for i in order]
    least = 2 if split == "train" else 3
    bands = [s for s in songs if len(s.has) >= least and s.collection not in ("pop909",)]
    pianos = [s for s in songs if s.collection == "pop909"]
    others = [s for s in songs if not s.has]
    chosen = bands[: plan.bands] + pianos[: plan.pianos] + others[: plan.others]
    return [chosen[i] for i in np.random.default_rng(8).permutation(len(chosen))]


def render_split(
    root: Path, folder: Path, split: str, plan: Plan, *, workers: int = 1, take: int = 0
) -> Iterator[tuple[int, int, str]]:
    """Render a split into ``folder/<split>``; songs already there are kept.

    Yields
    ------
    done, total, name
        After every song, in the order they finish.
    """
    check_tools(plan.fonts)
    songs = plan_songs(root, split, plan)
    jobs = [(root, song, folder / split, plan, take) for song in songs]
    yield from at_work(_job, jobs, workers)


def at_work(
    work: Callable[[Job], str], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, int, str]]:
    """Do jobs in processes; after every one how many are done, of how many, and its name."""
    with worker_pool(workers) as pool:
        for done, name in enumerate(pool.imap_unordered(work, jobs), 1):
            yield done, len(jobs), name


def worker_pool(workers: int) -> Pool:
    """A pool of processes that leave Ctrl-C to their parent."""
    return multiprocessing.get_context("spawn").Pool(workers, ignore_interrupt)


def ignore_interrupt(_: object = None) -> None:
    """Leave Ctrl-C to the parent; first thing in every process of a pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _job(job: tuple[Path, Song, Path, Plan, int]) -> str:
    root, song, folder, plan, take = job
    with warnings.catch_warnings():
        # pretty_midi warns of tempo events outside the first track; harmless here.
        warnings.simplefilter("ignore")
        render_song(
            root,
            song,
            folder,
            seconds=plan.seconds,
            fonts=plan.fonts,
            timbre=plan.timbre,
            take=take,
        )
    return song.name
