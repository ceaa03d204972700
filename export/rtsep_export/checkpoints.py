"""Files of weights: written whole or not at all, refused where they do not fit."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
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
        with warnings.catch_warnings():
            # Of pickles that it then refuses.
            warnings.simplefilter("ignore")
            found = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise RtsepError(f"no checkpoint at {path}") from None
    except OSError as error:
        raise RtsepError(f"{path} cannot be read ({error.strerror or error})") from None
    except UNFIT:
        # What torch says of it tells how to run a stranger's code.
        raise RtsepError(
            f"{path} is no archive of tensors alone",
            "weights as torch.save writes them",
            "nothing else in a checkpoint is loaded: it could run code",
        ) from None
    if not isinstance(found, Mapping):
        raise RtsepError(f"{path} holds no named tensors")
    return found


def unfit(
    path: Path,
    error: Exception,
    remedy: str = "choose another folder, or delete the file to start again",
) -> RtsepError:
    """The refusal for a checkpoint that cannot be used here."""
    # Torch's first line only says what it was about.
    said = str(error.args[0] if error.args else error).splitlines()
    reasons = [line for line in said if not line.startswith("Error(s) in")] or ["damaged"]
    reason = shorten(reasons[0], 100, placeholder=" …")
    return RtsepError(
        f"{path} is not of this network ({reason})", "a checkpoint of the same network", remedy
    )
