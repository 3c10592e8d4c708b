"""The web view in a headless Chromium: the page loads, the robot moves, a slider changes the command."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("viser", reason="the web view's extra is not installed")

from browser import Browser, find_browser

from legged_ppo.config.schema import Config
from legged_ppo.evaluation.trained_policy import TrainedPolicy, load_policy
from legged_ppo.viewer.live import LiveRollout
from legged_ppo.viewer.web import WebView

_SLIDER = "document.querySelectorAll('[role=slider]')"
_HIDE = (
    "document.head.insertAdjacentHTML('beforeend',"
    " '<style>.mantine-Notifications-root {display: none}</style>')"
)
"""The notice that there is no GPU lies over the scene."""


@pytest.fixture
def policy(tmp_path: Any, config: Config, make_checkpoint: Callable[..., Any]) -> TrainedPolicy:
    return load_policy(make_checkpoint(tmp_path / "policy.pth", config))


def test_page_loads_robot_moves_and_a_slider_drives(policy: TrainedPolicy) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    live = LiveRollout(policy.network, policy.config, place=("flat", 0), command=(0.0, 0.0, 0.0))
    with WebView(live, policy, load_policy, port=0) as view:
        view.scene.set_shadows(False)
        view.scene.follow = "off"  # else the robot would stay in the middle of the picture
        walk = threading.Thread(target=_walk, args=(view,), daemon=True)
        walk.start()
        with Browser(program) as browser:
            browser.open(view.address)
            browser.wait_for(f"{_SLIDER}.length >= 3")
            browser.wait_for("document.body.innerText.includes('frames a second')")
            browser.run(_HIDE)
            time.sleep(3.0)
            first = _picture(browser)
            assert first.std() > 5.0, "nothing is drawn"
            view.panel.paused = True
            time.sleep(3.0)
            still = _picture(browser)
            view.panel.paused = False
            browser.run(f"{_SLIDER}[0].focus()")
            for _ in range(4):
                browser.press("ArrowRight")
            end = time.monotonic() + 60.0
            while float(live.env.commands.command[0, 0]) <= 0.0:
                assert time.monotonic() < end, "the slider changed no command"
                time.sleep(0.2)
            view.panel.ask(lambda: live.env.simulator.translate(torch.tensor([[0.4, 0.4]])))
            end = time.monotonic() + 60.0
            while (np.abs(_picture(browser) - still) > 30.0).mean() < 0.004:
                assert time.monotonic() < end, "the robot stands still"
        view.panel.ask(_end)
        walk.join(30.0)


def _walk(view: WebView) -> None:
    with contextlib.suppress(SystemExit):
        view.run()


def _end() -> None:
    raise SystemExit


def _picture(browser: Browser) -> np.ndarray:
    """The scene beside the panel, [H, W] brightness."""
    image = Image.open(io.BytesIO(browser.screenshot())).convert("L")
    return np.asarray(image, dtype=np.float64)[:, : image.width * 2 // 5]
