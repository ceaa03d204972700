"""The networks that ``rtsep steer`` works with as bundles."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from rtsep.manifest import FORMAT_VERSION, Chunk, Manifest, Training
from rtsep_export.steer import autoencoder, taggers
from rtsep_export.steer.autoencoder import Autoencoder
from rtsep_export.steer.taggers import PowerSpectrum, Tagger
from rtsep_export.to_onnx import write_bundle

CHUNK = 1 << 16


class _Reconstruct(nn.Module):
    def __init__(self, network: Autoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        latent, codes, decoded = self.network(audio)
        return latent, codes.float(), decoded


class _Tag(nn.Module):
    def __init__(self, network: Tagger) -> None:
        super().__init__()
        self.network = network

    def forward(self, audio: Tensor) -> Tensor:
        tags: Tensor = self.network(audio)
        return tags


def export_autoencoder(
    network: Autoencoder, path: Path, name: str, training: Training, version: str, licence: str
) -> Manifest:
    """Write an autoencoder as a bundle: ``audio`` to ``latent``, ``codes`` and ``decoded``."""
    manifest = Manifest(
        format=FORMAT_VERSION,
        name=name,
        version=version,
        description="autoencoder of audio, whose latent vectors are steered",
        licence=licence,
        task="reconstruct",
        domain="audio",
        sample_rate=autoencoder.SAMPLE_RATE,
        hop=autoencoder.HOP,
        lookahead=0,
        latent=autoencoder.WIDTH,
        state=Chunk(chunk=CHUNK, left=0, right=0, crossfade=0),
        inputs=(),
        outputs=(),
        training=training,
    )
    timed = {"audio": 2, "latent": 2, "codes": 1, "decoded": 2}
    return write_bundle(_Reconstruct(network), manifest, path, timed=timed, as_it_is=True)


def export_tagger(
    network: Tagger,
    tags: Sequence[str],
    path: Path,
    name: str,
    training: Training,
    version: str,
    licence: str,
    about: str = "by which audio is steered",
) -> Manifest:
    """Write a tagger as a bundle: one window of ``audio`` to the probabilities of ``tags``."""
    for module in network.modules():
        if isinstance(module, PowerSpectrum):
            module.convolve()
    manifest = Manifest(
        format=FORMAT_VERSION,
        name=name,
        version=version,
        description=f"tagger ({type(network).__name__}), {about}",
        licence=licence,
        task="tag",
        domain="audio",
        sample_rate=taggers.SAMPLE_RATE,
        hop=1,
        lookahead=0,
        tags=tuple(tags),
        state=Chunk(chunk=network.samples, left=0, right=0, crossfade=0),
        inputs=(),
        outputs=(),
        training=training,
    )
    return write_bundle(_Tag(network), manifest, path, as_it_is=True)
