"""Several processes that train one adapter together, as `torchrun` or `accelerate launch` start them.

Each takes its share of every batch; gradients are summed over all, each row weighing what it would weigh in one process. So
the steps are the same however many processes there are, but for rounding. Invariant: only the first process writes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's number, and how many there are; `local` is its number on this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes and tells."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of a batch; empty if there are fewer items than processes."""
        return items[self.rank :: self.size]

    def total(self, value: float) -> float:
        """The sum of all processes' values."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as together

        tensor = torch.tensor([value], dtype=torch.float64, device=_device())
        together.all_reduce(tensor)
        return float(tensor[0])

    def add_up(self, parameters: Sequence[Any]) -> None:
        """Replace each gradient by the sum over all processes; one that has none counts as zero."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as together

        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            together.all_reduce(parameter.grad)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            import torch.distributed as together

            together.barrier()


def joined() -> Ranks:
    """What the launcher said in the environment; joins the others if there are any."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Ranks()
    import torch
    import torch.distributed as together

    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    if not together.is_initialized():
        together.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return Ranks(int(os.environ["RANK"]), size, local)


def _device() -> Any:
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
