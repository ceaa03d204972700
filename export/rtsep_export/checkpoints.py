"""Files of weights: written whole or not at all, refused where they do not fit."""

import pickle
from pathlib import Path

import torch

from rtsep.errors import RtsepError
from rtsep.output_file import replacing

# What torch raises for a file that is no checkpoint, or another network's.
UNFIT = (RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError)


def save(state: object, path: Path) -> None:
    """Write under a temporary name, then rename."""
    with replacing(path) as scratch:
        torch.save(state, scratch)


def unfit(path: Path, error: Exception) -> RtsepError:
    """The refusal for a checkpoint that cannot be used here."""
    reason = (str(error).splitlines() or ["damaged"])[0]
    return RtsepError(
        f"{path} is not of this network ({reason})",
        "a checkpoint of the same network",
        "choose another folder, or delete the file to start again",
    )
