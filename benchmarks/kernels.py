"""How fast the masking STFT is: ours against scipy.fft, torch.stft and pyFFTW.

Run ``python benchmarks/kernels.py`` (``--quick`` for a look).  Every chain takes the same
stereo hops and the same changing masks and gives out the same five stereo stems, which is
checked first: window, transform, four masked inverse transforms, overlap-add, residual.
The chains take turns, some hops each, so that what else the machine does meets all of
them.  Rivals are given their masks already spread from bands to bins; ours spreads them.
One core, one thread.
"""

import argparse
import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import common
from rtsep.bands import band_edges, band_matrix
from rtsep.presets import PRESETS, Preset
from rtsep.stft import MaskingStft
from rtsep.windows import analysis_window, synthesis_window

Array = npt.NDArray[Any]
N_STEMS = 5
BANDS = (-11.71875, 20000.0, 23.4375, 1.045)
MASK_SETS = 16
# Hops that a chain runs before the next one's turn.
TURN = 32
START_UP = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
wall, processor = time.perf_counter(), time.process_time()
from rtsep.stft import MaskingStft
transform = MaskingStft(n_fft=2048, synthesis=256, hop=128, n_stems=5, channels=2,
                        mask_matrix=np.ones((1, 1025), np.float32))
transform.process(np.zeros((2, 128), np.float32), np.zeros((5, 1), np.float32),
                  np.zeros((5, 2, 128), np.float32))
print(time.perf_counter() - wall, time.process_time() - processor)
"""


class Chain:
    """What the rivals share: sizes, history, overlap-add and residual, in NumPy.

    Everything that can be written in place is, into arrays made once.

    Parameters
    ----------
    preset : Preset
    sample_rate : int
    """

    name = ""

    def __init__(self, preset: Preset, sample_rate: int) -> None:
        self.n_fft = preset.frame_length(sample_rate)
        self.synthesis, self.hop = preset.synthesis, preset.hop
        self.analysis = analysis_window(self.n_fft, self.synthesis)
        self.window = synthesis_window(self.n_fft, self.synthesis, self.hop)
        self.history = np.zeros((2, self.n_fft), np.float32)
        self.frame = np.zeros((2, self.n_fft), np.float32)
        self.tail = np.zeros((N_STEMS - 1, 2, self.synthesis), np.float32)
        self.masked = np.zeros((N_STEMS - 1, 2, self.n_fft // 2 + 1), np.complex64)

    def transform(self) -> Array:
        """Real transform of `frame`, shape (2, bins)."""
        raise NotImplementedError

    def inverse(self) -> Array:
        """Inverse real transform of `masked`, shape (stems - 1, 2, n_fft)."""
        raise NotImplementedError

    def process(self, x: Array, masks: Array, out: Array) -> None:
        """One hop; `masks` has shape (stems, 1, bins), see `MaskingStft.process`."""
        hop = self.hop
        self.history[:, :-hop] = self.history[:, hop:]
        self.history[:, -hop:] = x
        np.multiply(self.history, self.analysis, out=self.frame)
        np.multiply(self.transform(), masks[:-1], out=self.masked)
        self.tail[..., :-hop] = self.tail[..., hop:]
        self.tail[..., -hop:] = 0.0
        self.tail += self.inverse()[..., -self.synthesis :] * self.window
        out[:-1] = self.tail[..., :hop]
        start = self.n_fft - self.synthesis
        np.sum(out[:-1], axis=0, out=out[-1])
        np.subtract(self.history[:, start : start + hop], out[-1], out=out[-1])


class ScipyChain(Chain):
    """scipy.fft: rfft and irfft, which stay in single precision."""

    name = "scipy.fft"

    def __init__(self, preset: Preset, sample_rate: int) -> None:
        import scipy.fft

        super().__init__(preset, sample_rate)
        self.fft: ModuleType = scipy.fft

    def transform(self) -> Array:
        """See `Chain.transform`."""
        spectrum: Array = self.fft.rfft(self.frame)
        return spectrum

    def inverse(self) -> Array:
        """See `Chain.inverse`."""
        frames: Array = self.fft.irfft(self.masked, overwrite_x=True)
        return frames


class FftwChain(Chain):
    """pyFFTW: plans measured beforehand, executed on aligned arrays."""

    name = "pyFFTW"

    def __init__(self, preset: Preset, sample_rate: int) -> None:
        import pyfftw

        super().__init__(preset, sample_rate)

        def aligned(shape: tuple[int, ...], dtype: str) -> Array:
            array: Array = pyfftw.zeros_aligned(shape, dtype)
            return array

        bins = self.n_fft // 2 + 1
        options = {"threads": 1, "flags": ("FFTW_MEASURE", "FFTW_DESTROY_INPUT")}
        self.frame = aligned((2, self.n_fft), "float32")
        self.spectrum = aligned((2, bins), "complex64")
        self.masked = aligned((N_STEMS - 1, 2, bins), "complex64")
        self.frames = aligned((N_STEMS - 1, 2, self.n_fft), "float32")
        self.forward_plan = pyfftw.FFTW(self.frame, self.spectrum, axes=(-1,), **options)
        self.inverse_plan = pyfftw.FFTW(
            self.masked, self.frames, axes=(-1,), direction="FFTW_BACKWARD", **options
        )
        # The plan's bare execution does not divide by the length; the window does.
        self.window = self.window / np.float32(self.n_fft)

    def transform(self) -> Array:
        """See `Chain.transform`."""
        self.forward_plan.execute()
        return self.spectrum

    def inverse(self) -> Array:
        """See `Chain.inverse`."""
        self.inverse_plan.execute()
        return self.frames


class TorchChain:
    """torch.stft for the frame and torch.fft.irfft back, tensors throughout."""

    name = "torch"

    def __init__(self, preset: Preset, sample_rate: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch: ModuleType = torch
        self.n_fft = preset.frame_length(sample_rate)
        self.synthesis, self.hop = preset.synthesis, preset.hop
        self.analysis = torch.from_numpy(analysis_window(self.n_fft, self.synthesis))
        self.window = torch.from_numpy(synthesis_window(self.n_fft, self.synthesis, self.hop))
        self.history = torch.zeros(2, self.n_fft)
        self.tail = torch.zeros(N_STEMS - 1, 2, self.synthesis)

    def process(self, x: Array, masks: Array, out: Array) -> None:
        """One hop, as `Chain.process`; the tensors share the arrays' memory."""
        torch, hop = self.torch, self.hop
        with torch.inference_mode():
            self.history = torch.cat((self.history[:, hop:], torch.from_numpy(x)), dim=1)
            spectrum = torch.stft(
                self.history,
                self.n_fft,
                hop,
                window=self.analysis,
                center=False,
                return_complex=True,
            )[..., 0]
            frames = torch.fft.irfft(torch.from_numpy(masks[:-1]) * spectrum)
            self.tail = torch.nn.functional.pad(self.tail[..., hop:], (0, hop))
            self.tail += frames[..., -self.synthesis :] * self.window
            stems = torch.from_numpy(out)
            stems[:-1] = self.tail[..., :hop]
            start = self.n_fft - self.synthesis
            stems[-1] = self.history[:, start : start + hop] - stems[:-1].sum(0)


RIVALS = (ScipyChain, TorchChain, FftwChain)


def open_rivals(preset: Preset, sample_rate: int) -> tuple[list[Any], list[str]]:
    """The rivals that are installed, and a line for each that is not."""
    chains, missing = [], []
    for rival in RIVALS:
        try:
            chains.append(rival(preset, sample_rate))
        except ImportError as error:
            missing.append(f"{rival.name} left out: {error.name} is not installed")
    return chains, missing


def open_ours(preset: Preset, sample_rate: int) -> tuple[MaskingStft, Array]:
    """Our chain and its band matrix."""
    n_fft = preset.frame_length(sample_rate)
    matrix = band_matrix(band_edges(*BANDS), n_fft, sample_rate, cover=True)
    transform = MaskingStft(
        n_fft=n_fft,
        synthesis=preset.synthesis,
        hop=preset.hop,
        n_stems=N_STEMS,
        channels=2,
        mask_matrix=matrix,
    )
    return transform, matrix


def material(preset: Preset, matrix: Array, n_hops: int, seed: int = 0) -> tuple[Array, ...]:
    """Hops of a mix, masks in bands for us, and the same masks on bins for the rivals."""
    rng = np.random.default_rng(seed)
    seconds = n_hops * preset.hop / 48_000
    mix = common.speed_mix(seconds, 48_000)[:, : n_hops * preset.hop]
    hops = np.ascontiguousarray(mix.reshape(2, n_hops, preset.hop).swapaxes(0, 1))
    masks = rng.random((MASK_SETS, N_STEMS, matrix.shape[0]), np.float32)
    masks /= masks.sum(axis=1, keepdims=True)
    return hops, masks, np.ascontiguousarray((masks @ matrix)[:, :, None, :])


def largest_difference(ours: MaskingStft, chains: list[Any], inputs: tuple[Array, ...]) -> float:
    """Largest difference of any rival's stems from ours over all hops."""
    hops, band_masks, bin_masks = inputs
    outs = np.zeros((1 + len(chains), N_STEMS, *hops.shape[1:]), np.float32)
    worst = 0.0
    for i, x in enumerate(hops):
        ours.process(x, band_masks[i % MASK_SETS], outs[0])
        for chain, out in zip(chains, outs[1:], strict=True):
            chain.process(x, bin_masks[i % MASK_SETS], out)
        if chains:
            worst = max(worst, float(np.abs(outs[1:] - outs[0]).max()))
    return worst


def time_in_turns(runs: dict[str, Callable[[int], None]], turns: int) -> dict[str, Array]:
    """Microseconds of every hop of every chain, the chains taking turns."""
    times = {name: np.zeros(turns * TURN) for name in runs}
    clock = time.perf_counter_ns
    gc.collect()
    gc.disable()
    try:
        for turn in range(turns):
            for name, run in runs.items():
                # The first hop finds the caches full of another chain's data.
                run(0)
                for i in range(TURN):
                    start = clock()
                    run(i)
                    times[name][turn * TURN + i] = (clock() - start) / 1e3
    finally:
        gc.enable()
    return times


def peak_bytes(run: Callable[[int], None]) -> int:
    """Memory that Python and NumPy take, at most, during one call."""
    run(0)
    tracemalloc.start()
    try:
        run(1)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        run(2)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def kernel_allocations(run: Callable[[int], None], arrays: int, calls: int = TURN) -> float:
    """Allocations a call by the compiled code, the dispatcher's argument headers aside."""
    from numba.core.runtime import _nrt_python, rtsys

    _nrt_python.memsys_enable_stats()
    run(0)
    before = rtsys.get_allocation_stats().alloc
    for i in range(calls):
        run(i)
    allocations: int = rtsys.get_allocation_stats().alloc - before
    return allocations / calls - arrays


def compare(preset: Preset, sample_rate: int, turns: int) -> dict[str, Any]:
    """Print the table of one preset; return its figures."""
    ours, matrix = open_ours(preset, sample_rate)
    chains, missing = open_rivals(preset, sample_rate)
    inputs = material(preset, matrix, 64)
    difference = largest_difference(ours, chains, inputs)
    if difference > 1e-5:
        raise RuntimeError(f"the chains differ by {difference:.1e}; expected at most 1e-5")
    hops, band_masks, bin_masks = inputs
    out = np.zeros((N_STEMS, 2, preset.hop), np.float32)

    def ours_once(i: int) -> None:
        ours.process(hops[i], band_masks[i % MASK_SETS], out)

    def rival_once(chain: Any) -> Callable[[int], None]:
        return lambda i: chain.process(hops[i], bin_masks[i % MASK_SETS], out)

    runs = {"rtsep": ours_once} | {chain.name: rival_once(chain) for chain in chains}
    times = time_in_turns(runs, turns)
    figures = {name: common.hop_statistics(values) for name, values in times.items()}
    rows = []
    for name, run in runs.items():
        figure = figures[name]
        # Tensors are not NumPy's, so that tracemalloc does not see them.
        figure["peak_bytes"] = float("nan") if name == "torch" else float(peak_bytes(run))
        figure["ratio"] = figure["median_us"] / figures["rtsep"]["median_us"]
        rows.append(
            (
                name,
                f"{figure['median_us']:.1f}",
                f"{figure['p99_us']:.1f}",
                f"{figure['ratio']:.1f}",
                "not seen" if name == "torch" else f"{figure['peak_bytes']:,.0f}",
            )
        )
    hop_us = preset.hop / sample_rate * 1e6
    within = kernel_allocations(ours_once, 3 + len(ours._arrays))
    common.print_table(
        f"{preset.name}: {preset.frame_length(sample_rate)} / {preset.synthesis} / {preset.hop} "
        f"at {sample_rate} Hz, {N_STEMS} stereo stems, a hop lasts {hop_us:,.0f} µs",
        ("chain", "p50 µs", "p99 µs", "ours ×", "peak bytes a call"),
        rows,
        f"{turns * TURN} hops each; largest difference between the stems {difference:.0e}; "
        f"allocations inside our kernel {within:g} a call"
        + "".join(f"\n{line}" for line in missing),
    )
    return {"figures": figures, "difference": difference, "kernel_allocations": within}


def print_subnormal_cost(preset: Preset, sample_rate: int, turns: int) -> dict[str, float]:
    """Print what subnormal numbers cost our chain, in the mix and in the masks."""
    ours, matrix = open_ours(preset, sample_rate)
    hops, masks, _ = material(preset, matrix, TURN)
    out = np.zeros((N_STEMS, 2, preset.hop), np.float32)
    scales = {
        "music": (1.0, 1.0),
        "subnormal mix": (1e-39, 1.0),
        "subnormal masks": (1.0, 1e-39),
        "mix at -380 dB": (1e-19, 1.0),
    }

    def once(mix_scale: float, mask_scale: float) -> Callable[[int], None]:
        scaled_hops = hops * np.float32(mix_scale)
        scaled_masks = masks * np.float32(mask_scale)
        return lambda i: ours.process(scaled_hops[i], scaled_masks[i % MASK_SETS], out)

    times = time_in_turns({name: once(*scale) for name, scale in scales.items()}, turns)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    rows = [
        (name, f"{median:.1f}", f"{median / medians['music']:.2f}")
        for name, median in medians.items()
    ]
    title = f"rtsep on very small numbers, {preset.name}"
    common.print_table(title, ("input", "p50 µs", "× music"), rows)
    return medians


def start_up() -> tuple[float, float]:
    """Seconds from NumPy imported to the first hop done, in a fresh interpreter.

    Returns
    -------
    wall_s, processor_s : float
        By the clock, and of processor time: on a busy machine the two part.
    """
    command = [sys.executable, "-c", START_UP, str(common.ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall_s, processor_s = map(float, done.stdout.split())
    return wall_s, processor_s


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a twentieth of the hops")
    parser.add_argument("--preset", choices=PRESETS, action="append", help="default: all")
    parser.add_argument("--rate", type=int, default=48_000, help="native rate in Hz")
    parser.add_argument("--core", type=int, help="the core to run on; default: the last")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    turns = 10 if options.quick else 200
    facts = common.machine()
    for rival, package in (("torch", "torch"), ("pyFFTW", "pyfftw")):
        try:
            facts["versions"][rival] = version(package)
        except ImportError:
            continue
    common.print_machine(facts)
    print(common.pin_to_one_core(options.core))
    # The first one may have to compile.
    start_up()
    wall_s, processor_s = start_up()
    print(
        f"import and first hop on a warm Numba cache: {wall_s:.2f} s, "
        f"{processor_s:.2f} s of processor time\n",
        flush=True,
    )
    report: dict[str, Any] = {"machine": facts, "start_up_s": [wall_s, processor_s], "presets": {}}
    for name in options.preset or PRESETS:
        report["presets"][name] = compare(PRESETS[name], options.rate, turns)
    report["subnormal_us"] = print_subnormal_cost(PRESETS["live"], options.rate, turns)
    common.write_json(options.json, report)


if __name__ == "__main__":
    common.run_to_the_end(main)
