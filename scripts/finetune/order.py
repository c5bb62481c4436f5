"""The order of the training examples: whole optimiser steps, of like length or as drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

#: Examples of so many optimiser steps are sorted by length together.
STEPS_SORTED = 16


class StepOrder(Sampler[list[int]]):
    """Optimiser steps in a random order, given by seed and epoch.

    A random permutation is cut into steps, whose order is random again; an incomplete step comes
    last. For steps of like length, chunks of the permutation are sorted by length before.

    Args:
        lengths: length of each example.
        step: examples per optimiser step.
        seed: of the order.
        grouped: whether the examples of a step are of like length.
    """

    def __init__(self, lengths: list[int], step: int, seed: int, grouped: bool = True) -> None:
        self.lengths = torch.tensor(lengths)
        self.step = step
        self.seed = seed
        self.grouped = grouped
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of steps."""
        return math.ceil(len(self.lengths) / self.step)

    def __iter__(self) -> Iterator[list[int]]:
        """Indices of the examples of each step of this epoch."""
        # The factor keeps a seed's second epoch apart from the next seed's first.
        generator = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        whole = len(order) - len(order) % self.step
        chunks = order[:whole].split(self.step * STEPS_SORTED) if whole else ()
        if self.grouped:
            chunks = [chunk[self.lengths[chunk].argsort(stable=True)] for chunk in chunks]
        steps = [step for chunk in chunks for step in chunk.split(self.step)]
        for i in torch.randperm(len(steps), generator=generator).tolist():
            yield steps[i].tolist()
        if whole < len(order):
            yield order[whole:].tolist()


class StepLoader(DataLoader):
    """Whole optimiser steps, in the order of the epoch that the Trainer has come to."""

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer at the beginning of each epoch, resumed or not."""
        self.batch_sampler.set_epoch(epoch)
