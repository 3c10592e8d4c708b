"""Compiled kernels as functions of tensors, run by as many threads as torch uses."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence

import torch

from legged_ppo.runtime.lanes.object_code import load_object
from legged_ppo.runtime.lanes.target import Target
from legged_ppo.runtime.lanes.team import FUNCTION, run_by

_PARTS = 2
"""Parts of the work that each thread takes, if another process does not delay it."""


class KernelFunctions:
    """The functions of a `Kernel` module.

    Args:
        code: object code for this CPU.
    """

    def __init__(self, code: bytes, target: Target, names: Iterable[str]) -> None:
        self._engine = load_object(code, target)
        self._functions = {
            name: FUNCTION(self._engine.get_function_address(name)) for name in names
        }

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
            tables: float32 on the CPU, as the function expects them in memory.
            block: rows that are best worked on together.
            threads: the most that are worth their start; None takes torch's number.
        """
        if rows == 0:
            return
        pointers = (ctypes.c_void_p * len(tables))(*[table.data_ptr() for table in tables])
        following = ctypes.c_int(0)
        threads = min(torch.get_num_threads(), threads or rows)
        parts = threads * _PARTS if threads > 1 else 1
        share = -(-rows // (parts * block)) * block
        addresses = ctypes.addressof(pointers), ctypes.addressof(following)
        slots = (ctypes.c_int64 * (len(numbers) + 4))(*addresses, *numbers, rows, share)
        threads = min(threads, -(-rows // share))
        run_by(threads, self._functions[name], ctypes.addressof(slots))
