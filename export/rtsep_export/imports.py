"""Published checkpoints, recognised by their tensors, as bundles."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rtsep.errors import RtsepError
from rtsep.manifest import Training
from rtsep_export.checkpoints import UNFIT
from rtsep_export.query.checkpoints import is_query_model, load_query_model
from rtsep_export.query.to_onnx import export_query_model

KNOWN = "a query model (MSI, MSI-DIS and its baselines)"


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
    state = _tensors(path)
    if is_query_model(state):
        network = load_query_model(path)
        if not network.model.separates:
            raise RtsepError(f"{path} is a query model that only transcribes", "one that separates")
        record = Training(
            data=("as its publisher states",),
            sound_fonts=(),
            audio_hours=0.0,
            command=f"imported from {path.name}",
        )
        written = export_query_model(network, output, _name(output), record, "1.0.0", licence)
        return network.model.title, written
    raise RtsepError(f"{path} is a checkpoint of a network that is not known", KNOWN)


def _tensors(path: Path) -> Mapping[str, Tensor]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise RtsepError(f"no checkpoint at {path}", KNOWN) from None
    except (*UNFIT, OSError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0]
        raise RtsepError(
            f"{path} is no archive of tensors alone ({reason})",
            "weights as torch.save writes them",
            "nothing else in a checkpoint is loaded: it could run code",
        ) from None
    if not isinstance(state, Mapping):
        raise RtsepError(f"{path} holds no named tensors", KNOWN)
    return state


def _name(output: Path) -> str:
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in output.stem.lower())
    return name.strip("-")[:48] or "imported"
