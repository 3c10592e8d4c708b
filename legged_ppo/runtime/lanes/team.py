"""Several threads for one function of compiled code: those that torch's operators have, where it can be.

Another pool's threads would wait for a core while torch's still spin on it, for milliseconds.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llvmlite.ir as ir

from legged_ppo.runtime.lanes.object_code import cached_object, load_object
from legged_ppo.runtime.lanes.target import host
from legged_ppo.runtime.lanes.values import POINTER

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""A function of one pointer."""
_LIBRARIES = ("libgomp", "libomp", "libiomp5")
_I64 = ir.IntType(64)
_forked = False


def run_by(threads: int, function: Any, argument: int) -> None:
    """Call a `FUNCTION` with the same argument in several threads, or fewer, and wait for all."""
    team = None if threads == 1 or _forked else _openmp()
    if team is not None:
        team(function, argument, threads, 0)
        return
    waiting = [_pool(threads).submit(function, argument) for _ in range(threads - 1)]
    function(argument)
    for each in waiting:
        each.result()


def run_each(function: Any, calls: Sequence[tuple[int, ...]]) -> None:
    """Call a compiled function with each of these arguments (addresses and integers), each in a thread."""
    if len(calls) == 1:
        function(*calls[0])
        return
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    following = ctypes.c_int64(0)
    arguments = [argument for call in calls for argument in call]
    slots = (ctypes.c_int64 * (3 + len(arguments)))(
        ctypes.addressof(following), len(calls), address, *arguments
    )
    run_by(len(calls), _caller(len(calls[0])).function, ctypes.addressof(slots))


class _Caller:
    """A function that makes one call of `run_each` after another until none is left."""

    def __init__(self, width: int) -> None:
        target = host()
        code = cached_object(
            ("calls", width), [Path(__file__)], lambda: _emit_caller(width, target.triple), target
        )
        self._engine = load_object(code, target)
        self.function = FUNCTION(self._engine.get_function_address("call"))


_caller = functools.cache(_Caller)


def _emit_caller(width: int, triple: str) -> str:
    """Arguments are passed in 64 bits each; a function reads the half that it declares."""
    module = ir.Module("calls")
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER]), "call")
    (slots,) = function.args
    entry, take, run, end = (function.append_basic_block() for _ in range(4))
    builder = ir.IRBuilder(entry)
    builder.branch(take)
    builder.position_at_end(take)

    def slot(number: Any, kind: ir.Type = _I64) -> Any:
        return builder.load(builder.gep(slots, [number], source_etype=_I64), typ=kind, align=8)

    number = builder.atomic_rmw("add", slot(_I64(0), POINTER), _I64(1), "monotonic")
    builder.cbranch(builder.icmp_signed("<", number, slot(_I64(1))), run, end)
    builder.position_at_end(run)
    first = builder.add(builder.mul(number, _I64(width)), _I64(3))
    kind = ir.FunctionType(ir.VoidType(), [_I64] * width).as_pointer()
    called = builder.inttoptr(slot(_I64(2)), kind)
    builder.call(called, [slot(builder.add(first, _I64(i))) for i in range(width)])
    builder.branch(take)
    builder.position_at_end(end)
    builder.ret_void()
    return str(module)


@functools.cache
def _openmp() -> Any:
    """GOMP_parallel of the OpenMP library that this process has loaded; None if there is none."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    paths = {line.split(maxsplit=5)[-1] for line in maps.splitlines()}
    for path in sorted(paths, key=lambda path: ("torch" not in path, path)):
        if Path(path).name.startswith(_LIBRARIES):
            found = getattr(ctypes.CDLL(path), "GOMP_parallel", None)
            if found is not None:
                found.argtypes = [FUNCTION, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
                found.restype = None
                return found
    return None


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1)


def _after_fork() -> None:
    """A forked process has no threads but its own, and OpenMP does not know."""
    global _forked
    _forked = True
    _pool.cache_clear()


os.register_at_fork(after_in_child=_after_fork)
