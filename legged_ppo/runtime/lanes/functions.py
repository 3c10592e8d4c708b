"""Compiled kernels as functions of tensors, run by as many threads as torch uses."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from legged_ppo.runtime.lanes.object_code import load_object
from legged_ppo.runtime.lanes.target import Target

_PARTS = 2
"""Parts of the work that each thread takes, if another process does not delay it."""


class KernelFunctions:
    """The functions of a `Kernel` module.

    Args:
        code: object code for this CPU.
        numbers: int32 arguments of each, by name, besides the number of rows and what divides them.
    """

    def __init__(self, code: bytes, target: Target, numbers: dict[str, int]) -> None:
        self._engine = load_object(code, target)
        self._functions = {}
        for name, count in numbers.items():
            integers = [ctypes.c_int] * (count + 2)
            kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *integers, ctypes.c_void_p)
            self._functions[name] = kind(self._engine.get_function_address(name))

    def run(
        self,
        name: str,
        tables: Sequence[torch.Tensor],
        rows: int,
        numbers: Sequence[int] = (),
        block: int = 1,
        threads: int | None = None,
    ) -> None:
        """Run a function over all rows.

        Args:
            tables: float32 on the CPU; those that it writes are contiguous.
            block: rows that are best worked on together.
            threads: the most that are worth their start; None takes torch's number.
        """
        kept = [table.contiguous() for table in tables]
        pointers = (ctypes.c_void_p * len(kept))(*[table.data_ptr() for table in kept])
        following = ctypes.c_int(0)
        threads = min(torch.get_num_threads(), threads or rows)
        parts = threads * _PARTS if threads > 1 else 1
        share = -(-rows // (parts * block)) * block
        arguments = (
            ctypes.addressof(pointers),
            *numbers,
            rows,
            share,
            ctypes.addressof(following),
        )
        function = self._functions[name]
        helpers = min(threads, -(-rows // share)) - 1
        waiting = [_pool(threads).submit(function, *arguments) for _ in range(helpers)]
        function(*arguments)
        for each in waiting:
            each.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1)


# A forked process has no threads but its own.
os.register_at_fork(after_in_child=_pool.cache_clear)
