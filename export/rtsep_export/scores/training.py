"""Training a setting: the paper's schedule or a time budget, resumable, on any number of GPUs.

Adam at 1e-3 (section 3.2).  Without a budget the rate is halved when the validation loss
has not improved for two epochs, and training ends after ten such epochs.  With one, the
rate falls along a cosine that ends with it, which gives more in little time.  Under
``torchrun`` every process takes its share of each batch.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.utils.tensorboard import SummaryWriter

from rtsep.errors import SetupError
from rtsep_export.checkpoints import UNFIT, save, unfit
from rtsep_export.devices import best_device
from rtsep_export.scores.clips import Batch, Clips, coloured
from rtsep_export.scores.networks import CHANNELS
from rtsep_export.scores.settings import SETTINGS, Learner

Report = Callable[[str, float, dict[str, float]], None]

HALVE_AFTER, STOP_AFTER = 2, 10
CLIP_GRADIENT = 1.0
SAVE_EVERY_S = 300.0


@dataclass(frozen=True)
class Schedule:
    """How to learn.

    Attributes
    ----------
    budget_s : float or None
        Training time in seconds; None follows the paper's rule.
    batch : int
        Clips, over all processes together.
    """

    budget_s: float | None = None
    batch: int = 8
    learning_rate: float = 1e-3
    seed: int = 1


@dataclass
class Progress:
    """Where a run is; kept in its checkpoint."""

    step: int = 0
    epoch: int = 0
    elapsed_s: float = 0.0
    rate: float = 1.0
    best: float = float("inf")
    stale: int = 0
    validated: list[float] = field(default_factory=list)


def join_processes() -> tuple[int, int]:
    """Rank and number of processes; joins torchrun's group where there is one."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return 0, 1
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return distributed.get_rank(), distributed.get_world_size()


class Run:
    """Trains one setting in a folder.

    The folder gets ``state.pt`` (all that is needed to go on), ``model.pt`` (the networks
    that learnt, as they were best on the validation clips) and TensorBoard's log.

    Raises
    ------
    SetupError
        A setting that this one starts from has not been trained.
    RtsepError
        The folder's checkpoint is another network's.
    """

    def __init__(
        self,
        name: str,
        runs: Path,
        train: Clips,
        valid: Clips,
        schedule: Schedule,
        channels: int = CHANNELS,
    ) -> None:
        self.name, self.folder, self.schedule = name, runs / name, schedule
        self.rank, self.processes = join_processes()
        torch.manual_seed(schedule.seed)
        self.train_clips, self.valid_clips = train, valid
        self.device = best_device()
        if self.device.type == "cuda":
            self.device = torch.device("cuda", self.rank)
        self.learner = Learner(SETTINGS[name], train.activity, channels).to(self.device)
        start_networks(self.learner, runs)
        self.optimisers = {
            network: torch.optim.Adam(
                self.learner.networks[network].parameters(), schedule.learning_rate
            )
            for network in self.learner.setting.learns
        }
        self.progress = Progress()
        self._resume()

    def go(self, report: Report) -> Path:
        """Train to the end; an interrupt saves and is passed on.

        Parameters
        ----------
        report : callable
            Given a message, the share done (or 0 where no end is set) and figures.
        """
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
        log = SummaryWriter(str(self.folder / "log")) if self.rank == 0 else None
        try:
            while not self._done():
                self._epoch(report, log)
        except KeyboardInterrupt:
            self._save()
            raise
        finally:
            if log is not None:
                log.close()
        return self.folder / "model.pt"

    def _done(self) -> bool:
        if self.schedule.budget_s is not None:
            return self.progress.elapsed_s >= self.schedule.budget_s
        return self.progress.stale >= STOP_AFTER

    def _epoch(self, report: Report, log: SummaryWriter | None) -> None:
        batches = list(
            self.train_clips.batches(
                self.schedule.batch, seed=(self.schedule.seed, self.progress.epoch)
            )
        )
        saved = time.monotonic()
        for numbers in batches[self.progress.step :]:
            began = time.monotonic()
            figures = self._step(numbers)
            self.progress.step += 1
            self.progress.elapsed_s += self._agreed(time.monotonic() - began)
            if log is not None:
                total = self.progress.epoch * len(batches) + self.progress.step
                for term, value in figures.items():
                    log.add_scalar(f"train/{term}", value, total)
            where = f"epoch {self.progress.epoch + 1} {self.progress.step}/{len(batches)}"
            report(where, self._share(), figures)
            if self._done():
                break
            if time.monotonic() - saved > SAVE_EVERY_S:
                self._save()
                saved = time.monotonic()
        self._finish_epoch(report, log)

    def _finish_epoch(self, report: Report, log: SummaryWriter | None) -> None:
        figures = self.validate()
        loss, now = figures["loss"], self.progress
        if log is not None:
            for term, value in figures.items():
                log.add_scalar(f"valid/{term}", value, now.epoch)
        now.validated.append(loss)
        if loss < now.best:
            now.best, now.stale = loss, 0
            self._write("model.pt", self._learnt())
        else:
            now.stale += 1
            if self.schedule.budget_s is None and now.stale % HALVE_AFTER == 0:
                now.rate /= 2
        now.epoch, now.step = now.epoch + 1, 0
        report(f"epoch {now.epoch} validated", self._share(), figures)
        self._save()

    def _share(self) -> float:
        budget = self.schedule.budget_s
        return 0.0 if budget is None else min(self.progress.elapsed_s / budget, 1.0)

    def _step(self, numbers: list[int]) -> dict[str, float]:
        rate = self.schedule.learning_rate * self.progress.rate
        if self.schedule.budget_s is not None:
            rate *= min(self._share() / 0.02 + 0.05, 1.0)
            rate *= 0.5 + 0.5 * float(np.cos(np.pi * self._share()))
        place = (self.schedule.seed, self.progress.epoch, self.progress.step, self.rank)
        rng = np.random.default_rng(place)
        own = numbers[self.rank :: self.processes] or numbers[:1]
        self.learner.train()
        batch = coloured(self._batch(self.train_clips, own), rng)
        totals, figures = self.learner.losses(batch, rng)
        for network, loss in totals.items():
            weights = list(self.learner.networks[network].parameters())
            # The gradient of this network's loss, for this network's weights and no others.
            gradients = torch.autograd.grad(loss, weights)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            self._share_gradients(weights)
            nn.utils.clip_grad_norm_(weights, CLIP_GRADIENT)
        for network in totals:
            for group in self.optimisers[network].param_groups:
                group["lr"] = rate
            self.optimisers[network].step()
        return figures | {"rate": rate}

    def _batch(self, clips: Clips, numbers: list[int]) -> Batch:
        return clips.batch(numbers, self.device, sources=self.learner.setting.from_stems)

    def _share_gradients(self, weights: list[nn.Parameter]) -> None:
        if self.processes == 1:
            return
        flat = torch.cat([w.grad.flatten() for w in weights if w.grad is not None])
        distributed.all_reduce(flat)
        flat /= self.processes
        for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
            weight.grad = part.view_as(weight)

    def _agreed(self, value: float) -> float:
        """The first process's value, so that all end at the same step."""
        if self.processes == 1:
            return value
        shared = torch.tensor([value], device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Mean losses over the validation clips; ``loss`` is what should fall."""
        self.learner.eval()
        sums: dict[str, float] = {}
        count = 0
        for numbers in self.valid_clips.batches(self.schedule.batch):
            totals, terms = self.learner.losses(self._batch(self.valid_clips, numbers))
            terms["loss"] = float(sum(totals.values(), torch.zeros((), device=self.device)))
            for term, value in terms.items():
                sums[term] = sums.get(term, 0.0) + value * len(numbers)
            count += len(numbers)
        return {term: value / count for term, value in sums.items()}

    def _learnt(self) -> dict[str, dict[str, Tensor]]:
        networks = self.learner.networks
        return {name: networks[name].state_dict() for name in self.learner.setting.learns}

    def _save(self) -> None:
        state = {
            "networks": self._learnt(),
            "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
            "progress": vars(self.progress),
        }
        self._write("state.pt", state)

    def _write(self, name: str, value: object) -> None:
        if self.rank == 0:
            save(value, self.folder / name)

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.is_file():
            return
        try:
            # On the CPU, as the optimiser keeps its count of steps where it finds it.
            state = torch.load(path, weights_only=True, map_location="cpu")
            for name, weights in state["networks"].items():
                self.learner.networks[name].load_state_dict(weights)
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
            self.progress = Progress(**state["progress"])
        except UNFIT as error:
            raise unfit(path, error) from None


def start_networks(learner: Learner, runs: Path) -> None:
    """Load what a setting starts from."""
    for network, origin in learner.setting.starts_from.items():
        load_network(learner.networks[network], network, runs / origin / "model.pt")


def load_network(network: nn.Module, name: str, path: Path) -> None:
    """Load the network called `name` from a run's ``model.pt``."""
    if not path.is_file():
        raise SetupError(
            f"no {path}", f"the trained {name}", f"train the setting {path.parent.name} first"
        )
    try:
        network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu")[name])
    except UNFIT as error:
        raise unfit(path, error) from None
