"""Published checkpoints, recognised by their tensors, as bundles."""

from pathlib import Path

from rtsep.errors import RtsepError
from rtsep.manifest import Training
from rtsep_export.checkpoints import tensors
from rtsep_export.query.checkpoints import is_query_model, load_query_model
from rtsep_export.query.to_onnx import export_query_model
from rtsep_export.steer.autoencoder import is_autoencoder
from rtsep_export.steer.frozen import autoencoder_of, list_of, tagger_kind, tagger_of
from rtsep_export.steer.tags import TAG_LISTS
from rtsep_export.steer.to_onnx import export_autoencoder, export_tagger

KNOWN = (
    "a query model (MSI, MSI-DIS and its baselines), the bottom level of Jukebox's autoencoder, "
    "or a tagger of Won et al."
)
VERSION = "1.0.0"


def import_checkpoint(path: Path, output: Path, *, licence: str) -> tuple[str, list[Path]]:
    """Write the bundles of a published network.

    Parameters
    ----------
    path : Path
        An archive of tensors; nothing else in it is loaded.
    output : Path
        The first bundle; others bear its name and what they do.
    licence : str
        Of the weights, for the manifests.

    Returns
    -------
    str, list of Path
        What it is, and the files written.

    Raises
    ------
    RtsepError
        Not an archive of tensors alone, or of a network that is not known.
    """
    state = tensors(path)
    name = _name(output)
    record = Training(
        data=("as its publisher states",),
        sound_fonts=(),
        audio_hours=0.0,
        command=f"imported from {path.name}",
    )
    if is_query_model(state):
        network = load_query_model(path)
        if not network.model.separates:
            raise RtsepError(f"{path} is a query model that only transcribes", "one that separates")
        written = export_query_model(network, output, name, record, VERSION, licence)
        return network.model.title, written
    if is_autoencoder(state):
        autoencoder = autoencoder_of(state, path)
        export_autoencoder(autoencoder, output, name, record, VERSION, licence)
        return "Jukebox's autoencoder, bottom level", [output]
    kind = tagger_kind(state)
    if kind is not None:
        known = list_of(path)
        tagger = tagger_of(state, path)
        export_tagger(tagger, TAG_LISTS[known], output, name, record, VERSION, licence)
        return f"tagger {kind} with the tags of {known}", [output]
    raise RtsepError(f"{path} is a checkpoint of a network that is not known", KNOWN)


def _name(output: Path) -> str:
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in output.stem.lower())
    return name.strip("-")[:48] or "imported"
