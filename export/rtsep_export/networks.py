"""What ``rtsep-export train`` and ``bundle`` know by name: tasks, and bundles of their weights."""

from pathlib import Path

import torch

from rtsep.bundle import load_bundle
from rtsep.errors import RtsepError
from rtsep.manifest import Training
from rtsep_export.devices import best_device
from rtsep_export.from_onnx import load_transcriber
from rtsep_export.network_names import NetworkName, Supervision
from rtsep_export.query.live import LiveQuery
from rtsep_export.query.live_training import LiveQueryTask
from rtsep_export.query.several import ABOUT, TAG, Several, SeveralTask
from rtsep_export.query.to_onnx import export_live_query
from rtsep_export.separation import SHAPES, SeparationTask, make_separator
from rtsep_export.steer.autoencoder import Autoencoder, at_scale
from rtsep_export.steer.autoencoder_training import AutoencoderTask
from rtsep_export.steer.tagger_training import SAMPLES, TAGS, TaggerTask
from rtsep_export.steer.taggers import Fcn
from rtsep_export.steer.to_onnx import export_autoencoder, export_tagger
from rtsep_export.to_onnx import LICENCE, export_separator, export_transcriber
from rtsep_export.training import Schedule, Task
from rtsep_export.transcription import TranscriptionTask, make_transcriber

# Segments a step.  A processor learns most from many small steps; a GPU takes four
# times as many segments in hardly more time.
CPU_BATCHES = {
    NetworkName.separator: 8,
    NetworkName.offline: 8,
    NetworkName.transcriber: 8,
    NetworkName.query_live: 8,
    NetworkName.several: 48,
    NetworkName.autoencoder: 2,
    NetworkName.tagger: 12,
}
GPU_BATCHES = {network: 4 * batch for network, batch in CPU_BATCHES.items()}


def make_task(
    network: NetworkName, rendered: Path, supervision: Supervision, *, workers: int
) -> Task:
    """What a network learns, from rendered songs.

    Raises
    ------
    RtsepError
        The network cannot learn from that, or the songs cannot be used.
    """
    on_gpu = best_device().type == "cuda"
    batch = (GPU_BATCHES if on_gpu else CPU_BATCHES)[network]
    match network:
        case NetworkName.query_live:
            return LiveQueryTask(rendered, batch=batch, workers=workers)
        case NetworkName.several:
            return SeveralTask(rendered, batch=batch)
        case NetworkName.transcriber:
            return TranscriptionTask(rendered, batch=batch, workers=workers)
        case NetworkName.autoencoder:
            return AutoencoderTask(rendered, batch=batch, workers=workers)
        case NetworkName.tagger:
            return TaggerTask(rendered, batch=batch, workers=workers)
    critic = None
    if supervision is not Supervision.stems:
        if network is NetworkName.offline:
            raise RtsepError(
                f"--supervision {supervision} for the {network} network",
                "stems: the critic hears the live masks alone",
            )
        critic = load_transcriber(load_bundle("notes"))
    return SeparationTask(
        rendered,
        SHAPES[network],
        batch=batch,
        stems_weight=0.0 if supervision is Supervision.scores else 1.0,
        critic=critic,
        workers=workers,
    )


def schedule(network: NetworkName, budget_s: float, seed: int) -> Schedule:
    """How long and how fast a network learns."""
    if network is NetworkName.autoencoder:
        # Its codes follow the encoder as it is, not as it was on average.
        return Schedule(budget_s, learning_rate=5e-4, weight_decay=0.0, averaging=0.9, seed=seed)
    return Schedule(budget_s, seed=seed)


def write_bundles(
    network: NetworkName, weights: Path, output: Path, record: Training, version: str
) -> None:
    """Write what a training came to as bundles in a folder.

    Raises
    ------
    RtsepError
        The weights are no weights of this network.
    """
    try:
        _write(network, weights, output, record, version)
    except (OSError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise RtsepError(f"{weights}: {reason}", f"weights of the {network}") from None


def _write(
    network: NetworkName, weights: Path, output: Path, record: Training, version: str
) -> None:
    state = torch.load(weights, weights_only=True, map_location="cpu")
    match network:
        case NetworkName.query_live:
            asked = LiveQuery()
            asked.load_state_dict(state)
            export_live_query(asked.eval(), output / f"{network}.onnx", network, record, version)
        case NetworkName.several:
            several = Several()
            several.load_state_dict(state)
            path = output / f"{network}.onnx"
            export_tagger(several.eval(), (TAG,), path, network, record, version, LICENCE, ABOUT)
        case NetworkName.transcriber:
            transcriber = make_transcriber()
            transcriber.load_state_dict(state)
            export_transcriber(transcriber, output / "notes.onnx", record, version)
        case NetworkName.autoencoder:
            autoencoder = Autoencoder()
            autoencoder.load_state_dict(state)
            path = output / f"{network}.onnx"
            export_autoencoder(at_scale(autoencoder), path, network, record, version, LICENCE)
        case NetworkName.tagger:
            tagger = Fcn(len(TAGS))
            tagger.load_state_dict(state)
            tagger.samples = SAMPLES
            path = output / f"{network}.onnx"
            export_tagger(tagger, TAGS, path, network, record, version, LICENCE)
        case _:
            separator = make_separator(SHAPES[network])
            separator.load_state_dict(state)
            for head in separator.heads:
                export_separator(separator, head, output / f"{head}.onnx", record, version)
