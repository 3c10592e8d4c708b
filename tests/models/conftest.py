"""The two libraries that products may come from."""

from __future__ import annotations

import pytest
import torch

from legged_ppo.models import linear


@pytest.fixture
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All products by one library, `pytorch` or `onednn`, whatever their size and the processor."""
    by_onednn = request.param == "onednn"
    if by_onednn and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(linear, "PREFER_ONEDNN", by_onednn)
    monkeypatch.setattr(linear, "_CALL_COST", 0)
