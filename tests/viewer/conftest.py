"""A web view of three robots on rough ground, and a client of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from legged_ppo.config.schema import Config
from legged_ppo.evaluation.trained_policy import TrainedPolicy, load_policy
from legged_ppo.viewer.live import LiveRollout

if TYPE_CHECKING:
    from web_client import Client

    from legged_ppo.viewer.web import WebView

ROBOTS = 3


@pytest.fixture
def checkpoint(tmp_path: Path, config: Config, make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint(tmp_path / "run" / "checkpoints" / "phase1_latest.pth", config)


@pytest.fixture
def policy(checkpoint: Path) -> TrainedPolicy:
    return load_policy(checkpoint)


@pytest.fixture
def view(policy: TrainedPolicy) -> Iterator[WebView]:
    pytest.importorskip("viser", reason="the web view's extra is not installed")
    from legged_ppo.viewer.web import WebView

    live = LiveRollout(policy.network, policy.config, ROBOTS, place=("rough", 1), endless=True)

    def read(path: Path) -> TrainedPolicy:
        return load_policy(path, conditions=policy.config)

    with WebView(live, policy, read, port=0) as found:
        yield found


@pytest.fixture
def client(view: WebView) -> Iterator[Client]:
    from web_client import Client, until

    with Client(view) as found:
        until(view, lambda: len(view.server.get_clients()) == 1)
        yield found
