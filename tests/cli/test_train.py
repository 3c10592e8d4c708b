"""The train command before it trains: how threads wait beside a busy neighbour."""

from __future__ import annotations

import os

import pytest

from legged_ppo.cli import train as train_cli


@pytest.mark.parametrize(("busy", "spins"), [(0.9, "1000"), (0.1, None)])
def test_threads_sleep_soon_where_another_process_is_busy(
    monkeypatch: pytest.MonkeyPatch, busy: float, spins: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # restores the present value at the end
        monkeypatch.delenv(name)
    monkeypatch.setattr(train_cli, "busy_cores", lambda: busy)
    assert train_cli.main(["--config", "missing.yaml"]) == 2
    assert os.environ.get("GOMP_SPINCOUNT") == spins
