"""What the five models learn from: equations 6, 14, 15 and 20.

Spectrograms are magnitudes, and the separation losses their mean absolute error.
"""

from torch import Tensor
from torch.nn import functional

MARGIN = 0.125


def query_loss(queries: Tensor, twins: Tensor) -> Tensor:
    """Equation 6: examples of one source close, of different ones `MARGIN` apart.

    Squared distances are averaged over the vector, as in the public implementation; a
    source is held against the next one of its sample, and the last against the first.

    Parameters
    ----------
    queries, twins : ``[batch, sources, QUERY]``
        Of two clips of each source; the sources of a sample are different.
    """
    others = queries.roll(1, dims=1)
    near = (queries - twins).square().mean(-1)
    far = functional.relu(MARGIN - (queries - others).square().mean(-1))
    return (near + far).mean()


def transcription_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Equation 15: cross-entropy of ``[batch, CLASSES, frames]`` and ``[batch, frames]``."""
    return functional.cross_entropy(logits, classes)


def separation_loss(estimate: Tensor, source: Tensor) -> Tensor:
    """Equation 14, and equation 20 where the estimate's timbre is a twin's."""
    return (estimate - source).abs().mean()
