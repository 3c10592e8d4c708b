"""The GRU's kernels keep its weights in registers."""

from __future__ import annotations

from pathlib import Path

import gru_resources
import pytest
import warp as wp

wp.config.log_level = wp.LOG_ERROR
STATIC_SHARED, RESERVED = 48 * 1024, 1024
"""Bytes of shared memory that a kernel may declare, and those that the system takes besides."""


@pytest.mark.parametrize("parts", [1, 2])
def test_the_weights_of_128_units_stay_in_registers(parts: int, tmp_path: Path) -> None:
    wp.init()
    for name, source, arguments, plan in gru_resources.kernels(128, parts):
        weights = 3 * 128 * 128 // parts // plan.threads
        path = tmp_path / f"{name}.cubin"
        found = gru_resources.compiled(source, arguments, plan, arch=90, path=path)
        assert weights < found.registers <= 65536 // plan.threads
        assert found.local <= 32, "hardly anything is spilled"
        assert 0 < found.shared <= STATIC_SHARED + RESERVED
