"""Calls of compiled functions in several threads."""

from __future__ import annotations

import ctypes

import pytest
import torch

from legged_ppo.runtime.lanes import team


@pytest.fixture(params=["openmp", "pool"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to have threads; a forked process takes the second."""
    if request.param == "pool":
        monkeypatch.setattr(team, "_forked", True)
    elif team._openmp() is None:
        pytest.skip("torch has no OpenMP library here")


@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_call_is_made_once_with_its_own_arguments(threads: None, count: int) -> None:
    memset = ctypes.CDLL(None).memset
    memset.argtypes, memset.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], None
    function = ctypes.CFUNCTYPE(None, *memset.argtypes)(
        ctypes.cast(memset, ctypes.c_void_p).value or 0
    )
    rows = torch.zeros(count, 32, dtype=torch.uint8)
    team.run_each(function, [(row.data_ptr(), i + 1, 8 + i) for i, row in enumerate(rows)])
    expected = torch.zeros_like(rows)
    for i in range(count):
        expected[i, : 8 + i] = i + 1
    assert torch.equal(rows, expected)


def test_torchs_threads_are_found() -> None:
    """Of the wheels of Linux at least."""
    if "OpenMP" in torch.__config__.parallel_info():
        assert team._openmp() is not None
