"""Some steps of training on one batch, for tests of what learns."""

import numpy as np
import torch


def steps_on_one_batch(task, steps, rate):
    """The losses, first to last, and the figures of the last; every weight has a gradient."""
    batch = task.mixes.draw(np.random.default_rng(0))
    task.mixes.draw = lambda _: batch
    optimiser = torch.optim.Adam(task.network.parameters(), rate)
    losses, figures = [], {}
    for _ in range(steps):
        optimiser.zero_grad()
        loss, figures = task.loss(np.random.default_rng(0))
        loss.backward()
        if not losses:
            assert all(p.grad is not None for p in task.network.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses, figures
