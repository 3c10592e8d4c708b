"""Run by torchrun from test_shared_memory.py: sums over the ranks in shared memory and by gloo.

torchrun --nproc_per_node=3 tests/support/shared_sums.py sums|ended|apart
"""

import mmap
import os
import sys
from typing import NoReturn

import torch
import torch.distributed as dist

from legged_ppo.runtime import distributed


def sums() -> None:
    """Many sums of changing sizes and types, some ranks late, against gloo's."""
    generator = torch.Generator().manual_seed(distributed.rank())
    late = torch.Generator().manual_seed(distributed.rank() + 100)
    for turn in range(300):
        size = 1 + 997 * turn % 50_000
        dtype = (torch.float32, torch.float64, torch.int64)[turn % 3]
        values = (1000 * torch.rand(size, generator=generator)).to(dtype)
        wanted = values.clone()
        dist.all_reduce(wanted)
        for _ in range(int(torch.randint(0, 20, (), generator=late))):
            torch.rand(20_000)
        first, second = values.split([size // 3, size - size // 3])
        assert distributed._sum_here is not None
        found = distributed._sum_here([first, second])
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
        copies = distributed._all(found)
        assert all(torch.equal(copy, found) for copy in copies)
        mean = distributed.mean(first.double())
        torch.testing.assert_close(mean, wanted[: size // 3].double() / 3, rtol=1e-6, atol=0)
        assert torch.equal(distributed.sum_(values), found)


def ended() -> None:
    """A rank that leaves before a sum."""
    distributed.sum_(torch.ones(5))
    if distributed.rank() == 1:
        os._exit(0)
    distributed.sum_(torch.ones(5))


def apart() -> None:
    """Ranks that cannot share memory use gloo."""
    assert distributed._sum_here is None
    gradients = [torch.full((2, 2), float(distributed.rank())), torch.ones(3)]
    distributed.average_(gradients)
    assert gradients[0].tolist() == [[1.0, 1.0]] * 2 and gradients[1].tolist() == [1.0] * 3


def refuse(*_: int) -> NoReturn:
    """In place of `mmap`."""
    raise PermissionError("no such memory here")


if __name__ == "__main__":
    kind = sys.argv[1]
    if kind == "apart" and distributed.local_rank() == 2:  # as one in a container of its own
        mmap.mmap = refuse  # type: ignore
    with distributed.process_group():
        {"sums": sums, "ended": ended, "apart": apart}[kind]()
