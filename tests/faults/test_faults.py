"""Faults that a run survives, in the short form of `python -m tests.faults`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.nursery import Nursery
from tests.faults.rows import rows

ROWS = rows(long=False)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.mark.parametrize("name", ROWS)
def test_the_fault_is_survived(name: str, nursery: Nursery, tmp_path: Path) -> None:
    measure = ROWS[name](nursery, folder=tmp_path)
    assert measure.failures == [] and measure.trials > 0
