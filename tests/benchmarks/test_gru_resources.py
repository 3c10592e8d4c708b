"""The GRU's kernels keep its weights in registers."""

from __future__ import annotations

from pathlib import Path

import gru_resources
import pytest
import warp as wp

from legged_ppo.models.gru_plan import MOST_BLOCKS, kernels_of

wp.config.log_level = wp.LOG_ERROR
STATIC_SHARED, RESERVED = 48 * 1024, 1024
"""Bytes of shared memory that a kernel may declare, and those that the system takes besides."""


@pytest.mark.parametrize(("hidden", "parts"), [(128, 1), (128, 2), (64, 1), (64, 2), (32, 1)])
def test_the_weights_stay_in_registers_and_every_multiprocessor_is_full(
    hidden: int, parts: int, tmp_path: Path
) -> None:
    wp.init()
    for plan in kernels_of(hidden, parts):
        threads = plan.geometry.threads
        weights = 3 * hidden * hidden // parts // threads
        found = gru_resources.compiled(plan, arch=90, path=tmp_path / f"{plan.name}.cubin")
        assert weights < found.registers <= 65536 // threads
        assert found.local <= 32, "hardly anything is spilled"
        assert 0 < found.shared <= STATIC_SHARED + RESERVED
        taken = -(-found.registers // 8) * 8 * threads
        room = min(MOST_BLOCKS, 65536 // taken)
        assert plan.blocks >= room, "no part of a multiprocessor is idle"
