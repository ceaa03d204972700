"""The training loop: a wall-clock budget, resumable, seeded, logged.

Both networks train here.  A task brings the network, a batch and its loss, and a
validation score; the loop brings the schedule, averaging, checkpoints and the log.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from rtsep_export.checkpoints import UNFIT, unfit
from rtsep_export.checkpoints import save as save_checkpoint
from rtsep_export.devices import best_device, device_title

Report = Callable[[int, float, dict[str, float]], None]

SNAPSHOTS_FROM = 0.8


class Task(Protocol):
    """What is trained: a network and the data that it learns from."""

    network: nn.Module

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of one random batch, and figures for the log."""

    def score(self, network: nn.Module) -> dict[str, float]:
        """Validation figures; ``score`` is the one that should grow."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes
    ----------
    budget_s : float
        Wall-clock training time; the rate rises over the first 2%, then falls along
        a cosine, and reaches zero as the budget ends.
    snapshots : int
        Averaged weights to keep beside the last ones, evenly over the last fifth.
    """

    budget_s: float
    learning_rate: float = 1.2e-3
    weight_decay: float = 1e-2
    averaging: float = 0.998
    validate_every_s: float = 300.0
    snapshots: int = 0
    seed: int = 1

    def kept_at(self, elapsed_s: float) -> int:
        """How many snapshots there should be after `elapsed_s` seconds of training."""
        share = (elapsed_s / self.budget_s - SNAPSHOTS_FROM) / (1 - SNAPSHOTS_FROM)
        return int(self.snapshots * min(max(share, 0.0), 1.0))

    def rate(self, elapsed_s: float) -> float:
        """The learning rate after `elapsed_s` seconds of training."""
        progress = min(elapsed_s / self.budget_s, 1.0)
        warm = min(progress / 0.02, 1.0)
        return self.learning_rate * warm * (0.5 + 0.5 * float(np.cos(np.pi * progress)))


def train(
    task: Task,
    schedule: Schedule,
    folder: Path,
    report: Report,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Path:
    """Train until the budget is spent; continue where a killed run stopped.

    Parameters
    ----------
    folder : Path
        Gets ``state.pt`` (everything needed to continue), ``model.pt`` (the averaged
        weights), snapshots of them where asked for, and TensorBoard's log.
    report : callable
        Called with step, progress from 0 to 1 and the latest figures.
    clock : callable
        Seconds; read before and after every step.

    Returns
    -------
    Path
        ``folder/model.pt``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = task.network
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=_averaging(schedule.averaging)
    )
    optimiser = torch.optim.AdamW(
        network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    step, elapsed = _resume(folder / "state.pt", network, average, optimiser)
    log = SummaryWriter(str(folder / "log"))

    def save() -> None:
        state = {
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "elapsed": elapsed,
            "device": device_title(best_device()),
        }
        save_checkpoint(state, folder / "state.pt")
        save_checkpoint(average.module.state_dict(), folder / "model.pt")

    next_check, kept = elapsed + schedule.validate_every_s, schedule.kept_at(elapsed)
    try:
        while elapsed < schedule.budget_s:
            began = clock()
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(elapsed)
            network.train()
            loss, figures = task.loss(np.random.default_rng([schedule.seed, step]))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            average.update_parameters(network)
            step += 1
            elapsed += clock() - began
            if (number := schedule.kept_at(elapsed)) > kept:
                kept = number
                save_checkpoint(average.module.state_dict(), _snapshot(folder, number))
            for name, value in figures.items():
                log.add_scalar(f"train/{name}", value, step)
            report(step, elapsed / schedule.budget_s, figures)
            if elapsed >= next_check or elapsed >= schedule.budget_s:
                next_check = elapsed + schedule.validate_every_s
                figures = _validate(task, average.module)
                for name, value in figures.items():
                    log.add_scalar(f"valid/{name}", value, step)
                report(step, elapsed / schedule.budget_s, figures)
                save()
    except KeyboardInterrupt:
        save()
        raise
    finally:
        log.close()
    save()
    return folder / "model.pt"


def _snapshot(folder: Path, number: int) -> Path:
    return folder / f"model-{number:02}.pt"


def snapshots(folder: Path) -> list[Path]:
    """The weights that a run kept on its way, oldest first; else its last ones."""
    found = sorted(folder.glob("model-[0-9][0-9].pt"))
    return found or [folder / "model.pt"]


def _averaging(largest: float) -> Callable[..., None]:
    """An exponential mean that forgets its start: a short training would else hardly move it."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        seen = float(count)
        decay = min(largest, (1.0 + seen) / (10.0 + seen))
        torch._foreach_lerp_(averaged, current, 1.0 - decay)

    return update


def _validate(task: Task, network: nn.Module) -> dict[str, float]:
    network.eval()
    with torch.no_grad():
        return task.score(network)


def _resume(
    path: Path,
    network: nn.Module,
    average: torch.optim.swa_utils.AveragedModel,
    optimiser: torch.optim.Optimizer,
) -> tuple[int, float]:
    """Load a state if there is one; the step and seconds to continue from."""
    if not path.is_file():
        return 0, 0.0
    try:
        # The optimiser keeps its count of steps where it finds it: on the CPU, not to wait for.
        state = torch.load(path, weights_only=True, map_location="cpu")
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
    except UNFIT as error:
        raise unfit(path, error) from None
    return int(state["step"]), float(state["elapsed"])
