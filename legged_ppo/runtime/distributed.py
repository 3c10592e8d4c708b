"""Training in several processes: `torchrun --nproc_per_node=K train_phase1.py ...`.

Each rank simulates its share of the robots; gradients, statistics and metrics are reduced. Without
torchrun every function here is the identity.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from legged_ppo.runtime.shared_memory import SLOT_BYTES, SharedMemorySum

T = TypeVar("T")
_sum_here: SharedMemorySum | None = None
_SEED_STRIDE = 100_003
"""Difference of the seeds of two ranks; larger than that of the seeds of typical runs."""


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this rank writes files and prints."""
    return rank() == 0


def local_rank() -> int:
    """Number of this process among those of this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def threads() -> int:
    """This process's share of the machine's cores."""
    return max(1, len(os.sched_getaffinity(0)) // local_world_size())


def seed_of_rank(seed: int) -> int:
    """This rank's seed in a run with the given one."""
    return seed + _SEED_STRIDE * rank()


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Scope of the process group of torchrun; without torchrun it does nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    # Functions of this module take the group at import as a default argument. If an optimizer imported it
    # later, they would keep the group and its threads alive past its end, which aborts at exit.
    import torch.distributed.nn

    global _sum_here
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend)
    try:
        _sum_here = _shared_memory_sum()
        yield
    finally:
        _sum_here = None
        dist.destroy_process_group()


def _shared_memory_sum() -> SharedMemorySum | None:
    """Sums of CPU tensors, where all ranks are on this machine and can share memory."""
    if local_world_size() < world_size():
        return None
    with contextlib.suppress(OSError):
        return SharedMemorySum(rank(), world_size(), _all)
    return None


def _all(value: T) -> list[T]:
    """The values of all ranks, in order."""
    values = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def _total(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The elements of all parts, one after the other, summed over the ranks."""
    small = sum(part.nbytes for part in parts) <= SLOT_BYTES
    if _sum_here is not None and small and parts[0].device.type == "cpu":
        return _sum_here(parts)
    flat = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(flat)
    return flat


def sum_(values: torch.Tensor) -> torch.Tensor:
    """Sum over the ranks, in place."""
    if world_size() > 1:
        values.copy_(_total([values]).view_as(values))
    return values


def mean(values: torch.Tensor) -> torch.Tensor:
    """Mean over the ranks."""
    if world_size() == 1:
        return values
    return _total([values]).view_as(values) / world_size()


def reduced(
    figures: Mapping[str, torch.Tensor | float], counts: Collection[str], device: torch.device
) -> dict[str, float]:
    """Figures of all ranks as plain numbers, in one transfer: means, and sums of those named in `counts`."""
    values = torch.stack(
        [torch.as_tensor(v, dtype=torch.float64, device=device) for v in figures.values()]
    )
    totals = dict(zip(figures, sum_(values).tolist(), strict=True))
    return {name: v if name in counts else v / world_size() for name, v in totals.items()}


def average_(gradients: Sequence[torch.Tensor]) -> None:
    """Replace each by its mean over the ranks, in one transfer."""
    flat = _total(gradients).div_(world_size())
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank."""
    if world_size() == 1:
        return flag
    return bool(sum_(torch.tensor(int(flag))))


def broadcast_(tensors: Iterable[torch.Tensor]) -> None:
    """Replace the content of each by the first rank's."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def from_main(value: T) -> T:
    """The first rank's value, everywhere."""
    box = [value]
    if world_size() > 1:
        dist.broadcast_object_list(box, device=torch.device("cpu"))
    return box[0]


def gather(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Every rank's tensors and plain containers, in order, on the first rank; nothing on the others."""
    if world_size() == 1:
        return [state]
    file = io.BytesIO()
    torch.save(state, file)
    found: list[bytes] | None = [b""] * world_size() if is_main() else None
    dist.gather_object(file.getvalue(), found)
    # Without map_location the tensors of another rank would be loaded to its GPU, which may not exist here.
    return [
        torch.load(io.BytesIO(each), map_location="cpu", weights_only=True) for each in found or []
    ]
