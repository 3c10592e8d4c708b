"""Compiled kernels as functions of tensors, run by as many threads as torch uses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from legged_ppo.runtime.lanes.kernel import Kernel
from legged_ppo.runtime.lanes.object_code import cached_object, load_object
from legged_ppo.runtime.lanes.target import Target, host
from legged_ppo.runtime.lanes.team import FUNCTION, run_by

_PARTS = 2
"""Parts of the work that each thread takes, if another process does not delay it."""
_ADDRESSES = 2**31
"""Kernels count numbers with 32 bits."""


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

        Raises:
            ValueError: a table is too long for the kernels' indices.
        """
        if rows == 0:
            return
        if (largest := max(table.numel() for table in tables)) >= _ADDRESSES:
            limit = f"a table of {largest} numbers; compiled code takes fewer than {_ADDRESSES}"
            raise ValueError(f"{limit}: use smaller minibatches or more ppo.gradient_accumulation")
        pointers = (ctypes.c_void_p * len(tables))(*[table.data_ptr() for table in tables])
        following = ctypes.c_int(0)
        threads = min(torch.get_num_threads(), threads or rows)
        parts = threads * _PARTS if threads > 1 else 1
        share = -(-rows // (parts * block)) * block
        addresses = ctypes.addressof(pointers), ctypes.addressof(following)
        slots = (ctypes.c_int64 * (len(numbers) + 4))(*addresses, *numbers, rows, share)
        threads = min(threads, -(-rows // share))
        run_by(threads, self._functions[name], ctypes.addressof(slots))


def compiled_functions(
    emit: Callable[[Kernel], None], names: Iterable[str], source: str, lanes: int, *sizes: int
) -> KernelFunctions:
    """The functions that `emit` adds to a `Kernel`, for this CPU; compiled or from the cache.

    Args:
        source: path of the file whose code emits them.
        lanes: float32 numbers in a register.
        sizes: what they depend on besides.
    """
    target, file = host(), Path(source)

    def text() -> str:
        m = Kernel(lanes, target.triple)
        emit(m)
        return str(m.module)

    code = cached_object((file.name, lanes, *sizes), [file], text, target)
    return KernelFunctions(code, target, names)
