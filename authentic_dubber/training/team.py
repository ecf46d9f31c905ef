"""The processes that share a training: started by `torchrun`, or one alone.

Gradients are summed in one message after the last part of an update, and not while it is still computed, as
`DistributedDataParallel` does: its hooks wait for every process within backward, so that one of them out of memory
would leave the others waiting. Here all learn of it first, and all cut the update smaller.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist

from .dataset import Batch


@dataclass(frozen=True, slots=True)
class Team:
    """One process's view of all.

    Attributes:
        rank: its number, from 0; the first one writes, the others only compute.
        size: how many there are.
        device: where this one computes; messages are sent from there.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, lines: int) -> Tensor:
        """This process's lines of a batch. Dealt like cards: neighbours are of like length, so every hand is alike.

        Raises:
            ValueError: there are fewer lines than processes.
        """
        if lines < self.size:
            raise ValueError(f"expected at least one line for each of {self.size} processes, got {lines} a step")
        return torch.arange(self.rank, lines, self.size)

    def hand(self, batch: Batch) -> Batch:
        """This process's lines of a batch, as `share` deals them."""
        return batch if self.size == 1 else batch.chosen(self.share(batch.lines))

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes of a tensor of one shape."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def most(self, value: int) -> int:
        """The largest of what the processes say."""
        if self.size == 1:
            return value
        told = torch.tensor(value, device=self.device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return int(told)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Every process gets the sum of all gradients; none stays none where no process has one."""
        if self.size == 1:
            return
        there = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=self.device)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        summed = self.total(torch.cat([there, *(part.float().flatten() for part in parts)]))
        known, rest = summed[: len(parameters)].tolist(), summed[len(parameters) :]
        for parameter, has, part in zip(parameters, known, rest.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype) if has else None

    def sum_terms(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same for named scalars."""
        return dict(zip(terms, self.total(torch.stack([*terms.values()])).unbind(), strict=True))

    @torch.no_grad()
    def begin_alike(self, module: nn.Module) -> None:
        """Every process takes the first one's weights."""
        if self.size > 1:
            for value in module.state_dict().values():
                dist.broadcast(value, 0)

    def wait(self) -> None:
        """Until all are here."""
        self.most(0)


ALONE = Team()


@contextmanager
def join_team(device: str) -> Iterator[Team]:
    """The team this process was started in: by `torchrun`, which says so in the environment, or alone.

    Args:
        device: `cpu` or `cuda`; of several GPUs each process takes the one of its local rank.

    Raises:
        ValueError: there are more processes on this machine than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device=device)
        return
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"expected a GPU for each process, got {torch.cuda.device_count()} and process {local + 1}"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device == "cpu" else "nccl")
    try:
        yield Team(rank, size, device)
    finally:
        dist.destroy_process_group()
