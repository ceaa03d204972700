"""What TagBox's masks cost: to steer, on disk, and while they play.

Run ``python benchmarks/steer.py``.  The published tagger and the autoencoder's golden weights
are found by ``--data`` or RTSEP_DATA; their speed is that of any weights of their shape.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import common
from benchmarks.clips import read_audio
from rtsep.engine import Engine
from rtsep.fingerprint import fingerprint
from rtsep.mask_file import read_masks, write_masks
from rtsep.played_masks import Place
from rtsep.presets import PRESETS
from rtsep_export.memory import keep_freed_memory
from rtsep_export.steer.autoencoder import SAMPLE_RATE
from rtsep_export.steer.frozen import load_autoencoder, load_tagger
from rtsep_export.steer.steering import Settings, Target, steer
from rtsep_export.steer.tags import target

SECONDS, SONG_S = 10.0, 180.0
BLOCK = 128


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("RTSEP_DATA"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.data is None:
        parser.error("no --data and no RTSEP_DATA")
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    common.print_machine(common.machine())
    rows = {"threads": args.threads, **steering(args.data), **playing()}
    for name, value in rows.items():
        common.console().print(f"{name}: {value:.3g}")
    if args.json:
        common.write_json(args.json, {"machine": common.machine(), "rows": [rows]})


def steering(data: Path) -> dict[str, float]:
    """Seconds that ten steps take on `SECONDS` of music, and megabytes of masks a tag."""
    audio, rate = read_audio(data / "mixtures" / "demucs_test.mp3", 20.0)
    assert rate == SAMPLE_RATE
    mixture = torch.from_numpy(audio.mean(axis=0))[: round(SECONDS * SAMPLE_RATE)]
    autoencoder = load_autoencoder(str(data / "golden" / "jukebox" / "vqvae.pth.tar"))
    tagger = load_tagger(str(data / "taggers" / "mtat-fcn.pth"))
    targets = [Target(tagger.network, target(["guitar"], tagger.tags, tagger.instruments))]
    steer(mixture, autoencoder, targets, Settings(steps=1))
    began = time.perf_counter()
    (mask,) = steer(mixture, autoencoder, targets, Settings())
    taken = time.perf_counter() - began
    repeats = round(SONG_S / SECONDS)
    size = mask_megabytes(mask.T.numpy(), repeats)
    return {"seconds for ten steps on 10 s": taken, "megabytes a tag for three minutes": size}


def mask_megabytes(mask: common.Audio, repeats: int) -> float:
    """Size of a file in which a mask comes again and again, each time a little different."""
    rng = np.random.default_rng(0)
    long = np.concatenate([mask * rng.uniform(0.8, 1.0) for _ in range(repeats)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "song.masks"
        write(path, {"guitar": long})
        return path.stat().st_size / 1e6


def write(path: Path, masks: dict[str, Any]) -> None:
    """A mask file of the paper's transform, for music that nobody looks for."""
    frames = len(next(iter(masks.values())))
    noise = np.zeros((1, SAMPLE_RATE), np.float32)
    write_masks(
        path,
        masks,
        fingerprint(noise, SAMPLE_RATE),
        sample_rate=SAMPLE_RATE,
        samples=(frames - 1) * 512,
        n_fft=1024,
        hop=512,
        settings={},
    )


def playing() -> dict[str, float]:
    """Share of one core that each more tag takes while it plays, at 48 kHz."""
    rng = np.random.default_rng(0)
    frames = round(30.0 * SAMPLE_RATE / 512)
    mix = common.speed_mix(20.0, 48_000)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 4):
            path = Path(folder) / f"{count}.masks"
            write(path, {f"tag{k}": rng.random((frames, 513), np.float32) for k in range(count)})
            engine = Engine(read_masks(path), None, PRESETS["live"])
            engine.locate(Place(0, 0.0))
            engine.prepare(48_000, BLOCK, 2, step=BLOCK)
            stems = np.zeros((count + 1, 2, BLOCK), np.float32)
            blocks = [
                np.ascontiguousarray(mix[:, k : k + BLOCK])
                for k in range(0, mix.shape[1] - BLOCK + 1, BLOCK)
            ]
            began = time.process_time()
            for block in blocks:
                engine.process(block, stems)
            found[count] = (time.process_time() - began) / (len(blocks) * BLOCK / 48_000)
    return {
        "share of a core, one tag": found[1],
        "share of a core, each more tag": (found[4] - found[1]) / 3,
    }


if __name__ == "__main__":
    common.run_to_the_end(main)
