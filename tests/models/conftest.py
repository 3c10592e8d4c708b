"""The two ways in which products are computed."""

from __future__ import annotations

import math

import pytest

from legged_ppo.models import linear


@pytest.fixture
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All products on the CPU by `pytorch` or `compiled`, whatever their size."""
    monkeypatch.setattr(linear, "_CALL_COST", {"pytorch": math.inf, "compiled": 0}[request.param])
