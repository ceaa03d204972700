"""A query model as bundles: what separates, what makes queries, what plays scores."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from rtsep.manifest import (
    FORMAT_VERSION,
    Chunk,
    FrontEnd,
    Manifest,
    Notes,
    Spectrogram,
    Taps,
    Training,
)
from rtsep.query.model import Task, part_path
from rtsep.rates import REFERENCE_RATE
from rtsep_export.features import SEPARATOR_FRONT_ENDS, SEPARATOR_HOP
from rtsep_export.query import live, networks
from rtsep_export.query.live import LiveQuery
from rtsep_export.query.networks import Model, QueryModel
from rtsep_export.tcn import TAPS
from rtsep_export.to_onnx import LICENCE, write_bundle

# As far as the network hears before and after a frame: 26 convolutions in a row.
REACH = 26
CHUNK, EXAMPLE = 600, 300
STEM = "query"
LIVE = Model("live query", transcribes=False, causal=True)
PITCHES = tuple(range(networks.LOWEST_NOTE, networks.LOWEST_NOTE + networks.NOTES))
TIMED = dict.fromkeys(
    ("mixture", "separated", "synthesised", "query_spectrogram", "logits", "score"), 2
)
PARTS: Sequence[Task] = ("query", "embed", "synthesise")
DESCRIPTIONS: dict[Task, str] = {
    "query": "one stem of a mixture, by a query vector",
    "embed": "the query vector of an example",
    "synthesise": "a score in the timbre of a mixture's stem",
}


class _Part(nn.Module):
    """One of the model's functions, as a module of its own."""

    def __init__(self, network: nn.Module, function: Callable[..., object]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs)


def query_space(network: QueryModel | LiveQuery) -> str:
    """What tells the query vectors of a network from those of others: its weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.queryNet.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def export_query_model(
    network: QueryModel,
    path: Path,
    name: str,
    training: Training,
    version: str,
    licence: str,
    *,
    bits: Literal[16, 32] = 32,
    tasks: Sequence[Task] = PARTS,
    level_db: float | None = None,
) -> list[Path]:
    """Write the bundles of a model that separates; those beside `path` bear its name.

    Parameters
    ----------
    bits : int
        Of the weights' numbers.
    tasks : sequence of str
        Which of them, where the model can; the first one at `path` itself.
    level_db : float, optional
        As of `rtsep.manifest.Spectrogram`.

    Returns
    -------
    list of Path
        ``path``, then the one that makes queries and, where the model takes pitch and
        timbre apart, the one that plays scores.
    """
    model = network.model
    functions: dict[Task, Callable[..., object]] = {"query": network, "embed": network.query}
    if not model.transcribes:
        functions["query"] = lambda mixture, query: network(mixture, query)[0]
    if model.disentangles:
        functions["synthesise"] = network.synthesise
    written = []
    for task in tasks:
        if task not in functions:
            continue
        beside = task != tasks[0]
        own = f"{name}-{task}" if beside else name
        manifest = _manifest(network, model, own, task, training, version, licence, level_db)
        target = part_path(path, task) if beside else path
        part = _Part(network, functions[task])
        write_bundle(part, manifest, target, bits=bits, timed=TIMED)
        written.append(target)
    return written


def _manifest(
    network: QueryModel | LiveQuery,
    model: Model,
    name: str,
    task: Task,
    training: Training,
    version: str,
    licence: str,
    level_db: float | None = None,
) -> Manifest:
    """Of a part that works on spectrograms."""
    hears_notes = model.transcribes and task != "embed"
    reach = 0 if task == "embed" else REACH
    return Manifest(
        format=FORMAT_VERSION,
        name=name,
        version=version,
        description=f"{model.title}: {DESCRIPTIONS[task]}",
        licence=licence,
        task=task,
        domain="spectrogram",
        notes=(Notes(stem=STEM, pitches=PITCHES, drums=False),) if hears_notes else (),
        sample_rate=networks.SAMPLE_RATE,
        hop=networks.HOP,
        lookahead=0,
        spectrogram=Spectrogram(n_fft=networks.N_FFT, bins=networks.BINS, level_db=level_db),
        query=live.QUERY if isinstance(network, LiveQuery) else networks.QUERY,
        query_space=query_space(network),
        state=Chunk(
            chunk=EXAMPLE if task == "embed" else CHUNK,
            left=reach + (reach if model.causal else 0),
            right=0 if model.causal else reach,
            crossfade=0,
        ),
        inputs=(),
        outputs=(),
        training=training,
    )


class _LiveStep(nn.Module):
    """One frame of the live model, its history outside."""

    def __init__(self, network: LiveQuery) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, taps: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.step(features, taps, query)


def export_live_query(
    network: LiveQuery,
    path: Path,
    name: str,
    training: Training,
    version: str,
    *,
    front_ends: tuple[FrontEnd, ...] = SEPARATOR_FRONT_ENDS,
    int8: bool = True,
) -> list[Path]:
    """Write the live model as a bundle by taps, and its query network beside it."""
    trunk = network.trunk
    manifest = Manifest(
        format=FORMAT_VERSION,
        name=name,
        version=version,
        description="causal: one stem of a mix, by a query vector, with no lookahead",
        licence=LICENCE,
        task="query",
        domain="mask",
        sample_rate=REFERENCE_RATE,
        hop=SEPARATOR_HOP,
        lookahead=0,
        front_ends=front_ends,
        query=live.QUERY,
        query_space=query_space(network),
        state=Taps(channels=trunk.channels, taps=TAPS, dilations=trunk.dilations),
        inputs=(),
        outputs=(),
        training=training,
    )
    write_bundle(_LiveStep(network), manifest, path, bits=8 if int8 else 32)
    embed = _manifest(network, LIVE, f"{name}-embed", "embed", training, version, LICENCE)
    write_bundle(_Part(network, network.query), embed, part_path(path, "embed"), timed=TIMED)
    return [path, part_path(path, "embed")]
