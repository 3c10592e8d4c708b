"""Both compilers of kernels; that of a GPU compiles for the CPU here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import warp as wp

from legged_ppo.runtime.fusion.kernel import Backend
from legged_ppo.runtime.fusion.lane_backend import LaneBackend
from legged_ppo.runtime.fusion.warp_backend import WarpBackend

wp.config.log_level = wp.LOG_WARNING
BACKENDS: dict[str, Callable[[], Backend]] = {
    "lanes": LaneBackend,
    "warp": lambda: WarpBackend(torch.device("cpu")),
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]()
