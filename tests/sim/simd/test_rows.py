"""Rows of tensors pass to the lanes and back unchanged."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from llvmlite.ir import Constant, IntType

from legged_ppo.runtime.lanes.functions import KernelFunctions
from legged_ppo.runtime.lanes.kernel import Floats, Kernel
from legged_ppo.runtime.lanes.object_code import compile_object
from legged_ppo.runtime.lanes.target import host
from legged_ppo.runtime.lanes.values import IndexValue
from legged_ppo.sim.simd.layout import laid_out
from legged_ppo.sim.simd.rows import TensorRows, read_rows

ROBOTS, CAPACITY = 37, 48  # whole groups of 4, 8 and 16


@pytest.mark.parametrize("lanes", [lanes for lanes in (4, 8, 16) if lanes <= host().lanes])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 12])
def test_rows_return_as_they_were(lanes: int, length: int) -> None:
    target, capacity, last = host(), *(Constant(IntType(32), n) for n in (CAPACITY, ROBOTS - 1))
    m = Kernel(lanes, target.triple)

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, stop: IndexValue
    ) -> None:
        source, values, flags = (table.pointer for table in tables)
        layout = laid_out({"before": 2, "copy": length})
        for row in m.loop(stop, first, lanes):
            read = read_rows(m, source, length, row.code, last)
            TensorRows(m, values, layout, capacity, row.code).write("copy", read)
            masks = [value > 0.0 for value in read]
            TensorRows(m, flags, layout, capacity, row.code).write_flags("copy", masks)

    m.function("copy", 3, 0, body)
    functions = KernelFunctions(compile_object(str(m.module), target), target, ["copy"])
    rows = torch.randn(ROBOTS, length, generator=torch.Generator().manual_seed(0))
    numbers = torch.full((CAPACITY * (2 + length),), 7.0)
    flags = torch.zeros(CAPACITY * (2 + length), dtype=torch.bool)
    functions.run("copy", [rows, numbers, flags.view(torch.uint8)], ROBOTS, threads=1)
    before, copies = numbers.split([2 * CAPACITY, length * CAPACITY])
    assert (before == 7.0).all()
    assert torch.equal(copies.view(CAPACITY, length)[:ROBOTS], rows)
    assert torch.equal(flags[2 * CAPACITY :].view(CAPACITY, length)[:ROBOTS], rows > 0)
