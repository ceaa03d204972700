"""Files of weights: written whole or not at all, refused where they do not fit."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rtsep.errors import RtsepError
from rtsep.output_file import replacing

# What torch raises for a file that is no checkpoint, or another network's.
UNFIT = (RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError)


def save(state: object, path: Path) -> None:
    """Write under a temporary name, then rename."""
    with replacing(path) as scratch:
        torch.save(state, scratch)


def tensors(path: Path) -> Mapping[str, Any]:
    """What an archive of named tensors holds, and perhaps of further mappings of them.

    Raises
    ------
    RtsepError
        No such file, or not tensors alone: nothing else is loaded.
    """
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise RtsepError(f"no checkpoint at {path}") from None
    except (*UNFIT, OSError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0]
        raise RtsepError(
            f"{path} is no archive of tensors alone ({reason})",
            "weights as torch.save writes them",
            "nothing else in a checkpoint is loaded: it could run code",
        ) from None
    if not isinstance(found, Mapping):
        raise RtsepError(f"{path} holds no named tensors")
    return found


def unfit(path: Path, error: Exception) -> RtsepError:
    """The refusal for a checkpoint that cannot be used here."""
    reason = (str(error).splitlines() or ["damaged"])[0]
    return RtsepError(
        f"{path} is not of this network ({reason})",
        "a checkpoint of the same network",
        "choose another folder, or delete the file to start again",
    )
