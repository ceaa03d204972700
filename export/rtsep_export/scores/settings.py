"""The rows of the paper's tables: which networks learn from what.

A setting's losses are given by the network that each is for; `training` takes the
gradient of each for that network's weights alone, so that what is frozen stays so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from rtsep_export.scores import losses, networks
from rtsep_export.scores.clips import Batch
from rtsep_export.scores.losses import Weights

_BOTH = Weights()


@dataclass(frozen=True)
class Setting:
    """A row.

    Attributes
    ----------
    title : str
        The row's name in the tables.
    learns : tuple of str
        Networks that it trains, of "transcriber", "separator" and "classifier".
    starts_from : mapping of str to str
        Where networks come from: the name of the setting that trained them.
    weights : Weights
        Terms that it uses; 0 leaves one out.
    supervised, factorised : bool
        Learns from stems: the true ones, or those of `rtsep_export.scores.factorised`.
    """

    title: str
    learns: tuple[str, ...]
    starts_from: Mapping[str, str]
    weights: Weights = _BOTH
    supervised: bool = False
    factorised: bool = False

    @property
    def from_stems(self) -> bool:
        """Whether it learns from stems at all."""
        return self.supervised or self.factorised

    @property
    def needs(self) -> tuple[str, ...]:
        """Settings that must have been trained before."""
        return tuple(dict.fromkeys(self.starts_from.values()))


_CRITIC = {"transcriber": "transcriber"}
_JOINT = {"transcriber": "transcriber", "separator": "isolated-both"}
_TRAINED = ("separator", "transcriber")

SETTINGS = {
    "transcriber": Setting("pre-train", ("transcriber",), {}),
    "classifier": Setting("classifier", ("classifier",), {}),
    "supervised": Setting("supervised", ("separator",), {}, supervised=True),
    "baseline": Setting(
        "classifier critic [16]",
        ("separator",),
        {"classifier": "classifier"},
        replace(_BOTH, harmonic_mix=0.0),
    ),
    "isolated-clip": Setting(
        "isolated, c-mix", ("separator",), _CRITIC, replace(_BOTH, harmonic_mix=0.0)
    ),
    "isolated-harmonic": Setting(
        "isolated, h-mix", ("separator",), _CRITIC, replace(_BOTH, clip_mix=0.0)
    ),
    "isolated-both": Setting("isolated, c-mix + h-mix", ("separator",), _CRITIC, _BOTH),
    "factorised": Setting("ours: factorised stems", ("separator",), {}, factorised=True),
    "joint": Setting("fine-tune", _TRAINED, _JOINT, _BOTH),
    "joint-aml": Setting("fine-tune, AML", _TRAINED, _JOINT, replace(_BOTH, adversarial_mix=0.2)),
    "joint-atl": Setting(
        "fine-tune, ATL", _TRAINED, _JOINT, replace(_BOTH, adversarial_score=0.05)
    ),
}
MAKE = {
    "transcriber": networks.transcriber,
    "separator": networks.separator,
    "classifier": networks.classifier,
}


class Learner(nn.Module):
    """The networks of a setting and their losses.

    Parameters
    ----------
    activity : sequence of float
        How often each instrument plays in the training set.
    channels : int
        Of the networks.
    """

    def __init__(
        self, setting: Setting, activity: list[float], channels: int = networks.CHANNELS
    ) -> None:
        super().__init__()
        self.setting = setting
        self.register_buffer("rates", losses.activity_weights(activity))
        names = dict.fromkeys((*setting.learns, *setting.starts_from))
        self.networks = nn.ModuleDict({name: MAKE[name](channels) for name in names})
        for name in names:
            self.networks[name].requires_grad_(name in setting.learns)

    def losses(
        self, batch: Batch, rng: np.random.Generator | None = None
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The loss of each network that learns, and the terms for the log.

        Without `rng`, for validation, the adversarial terms are left out: a rising
        one says nothing of how well the networks do.
        """
        by, score, rates = self.setting.weights, batch.score, self.rates
        assert isinstance(rates, Tensor)
        totals: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        if "separator" in self.setting.learns:
            separated = self.networks["separator"](batch.mixture).sigmoid() * batch.mixture[:, None]
            terms |= self._separator_terms(batch, separated)
            totals["separator"] = terms["separator"]
        if "classifier" in self.setting.learns:
            logits = self.networks["classifier"](batch.mixture)
            totals["classifier"] = terms["classifier"] = losses.activity_loss(logits, score, rates)
        if "transcriber" in self.setting.learns:
            critic = self.networks["transcriber"]
            loss = losses.transcription_loss(critic(batch.mixture), score, rates, by)
            terms["transcriber"] = loss
            if by.adversarial_mix and rng is not None:
                fake, labels = losses.remix(separated.detach(), score, rng)
                terms["aml"] = losses.adversarial_mix_loss(critic(fake), labels, rates)
                loss = loss + by.adversarial_mix * terms["aml"]
            if by.adversarial_score and rng is not None:
                heard = self._heard("transcriber", separated.detach())
                terms["atl"] = losses.adversarial_score_loss(heard, score, rates)
                loss = loss + by.adversarial_score * terms["atl"]
            totals["transcriber"] = loss
        return totals, {name: float(value.detach()) for name, value in terms.items()}

    def _separator_terms(self, batch: Batch, separated: Tensor) -> dict[str, Tensor]:
        if self.setting.from_stems:
            assert batch.sources is not None
            return {"separator": losses.supervised_loss(separated, batch.sources)}
        by, score, rates = self.setting.weights, batch.score, self.rates
        assert isinstance(rates, Tensor)
        if "classifier" in self.networks:
            heard, labels = self._heard("classifier", separated), score.amax(2, keepdim=True)
        else:
            heard, labels = self._heard("transcriber", separated), score
        terms = {"score": losses.separated_score_loss(heard, labels, rates)}
        total = terms["score"]
        if by.clip_mix:
            terms["c-mix"] = losses.clip_mix_loss(batch.mixture, separated, score)
            total = total + by.clip_mix * terms["c-mix"]
        if by.harmonic_mix:
            terms["h-mix"] = losses.harmonic_mix_loss(batch.mixture, separated, score)
            total = total + by.harmonic_mix * terms["h-mix"]
        return terms | {"separator": total}

    def _heard(self, critic: str, separated: Tensor) -> Tensor:
        """Logits of a critic for every separated source, ``[batch, sources, ...]``."""
        logits: Tensor = self.networks[critic](separated.flatten(0, 1))
        return logits.unflatten(0, separated.shape[:2])
