"""The web view in a headless Chromium: the robot is drawn and moves; slider, held key and gamepad drive it."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("viser", reason="the web view's extra is not installed")

from browser import Page, browser, find_browser

from legged_ppo.evaluation.trained_policy import TrainedPolicy, load_policy
from legged_ppo.viewer.live import LiveRollout
from legged_ppo.viewer.web import WebView

_SLIDER = "document.querySelectorAll('[role=slider]')"
_HIDE = (
    "document.head.insertAdjacentHTML('beforeend',"
    " '<style>.mantine-Notifications-root {display: none}</style>')"
)
"""The notice that there is no GPU lies over the scene."""
_PAD = (
    "navigator.getGamepads = () => [{connected: true, axes: %s,"
    " buttons: [{pressed: false}, {pressed: false}]}]"
)
_SECONDS = 60.0


@pytest.fixture
def view(policy: TrainedPolicy) -> Iterator[WebView]:
    """One robot that stands on even ground, while the block lasts."""
    live = LiveRollout(policy.network, policy.config, place=("flat", 0), command=(0.0, 0.0, 0.0))
    with WebView(live, policy, load_policy, port=0) as found:
        found.scene.follow = "off"  # else the robot would stay in the middle of the picture
        walk = threading.Thread(target=_walk, args=(found,), daemon=True)
        walk.start()
        yield found
        found.panel.ask(_end)
        walk.join(30.0)


@pytest.fixture
def page(view: WebView) -> Iterator[Page]:
    if (program := find_browser()) is None:
        pytest.skip("no Chromium here: make apt-browser")
    with browser(program, (640, 400)) as opened:
        opened.open(view.address)
        opened.wait_for(f"{_SLIDER}.length >= 3")
        opened.wait_for("window.leggedPPO && document.body.innerText.includes(' drawn')")
        opened.run(_HIDE)
        yield opened
        assert opened.errors == []


def test_the_robot_is_drawn_and_moves(view: WebView, page: Page) -> None:
    _wait(lambda: _picture(page).std() > 5.0, "nothing is drawn")
    view.panel.paused = True
    time.sleep(3.0)
    still = _picture(page)
    view.panel.paused = False
    view.panel.ask(lambda: view.live.env.simulator.translate(torch.tensor([[0.4, 0.4]])))
    _wait(lambda: (np.abs(_picture(page) - still) > 30.0).mean() > 0.004, "it stands still")


def test_sliders_held_keys_and_gamepads_drive(view: WebView, page: Page) -> None:
    command = view.live.env.commands.command
    page.run(f"{_SLIDER}[0].focus()")
    for _ in range(4):
        page.press("ArrowRight")
    _wait(lambda: float(command[0, 0]) > 0.0, "the slider changed no command")
    page.run("document.activeElement.blur()")
    page.key("j", down=True)
    _wait(lambda: float(command[0, 2]) > 0.5, "a held key is one press")  # a press is 0.2 rad/s
    page.key("j", down=False)
    page.run(_PAD % "[0, 1, 0, 0]")
    low = view.live.driver.limits[0][0]
    _wait(lambda: command[0].tolist() == pytest.approx([low, 0.0, 0.0]), "the stick drives")
    page.run(_PAD % "[0.05, 0, 0, 0]")
    _wait(lambda: bool((command[0] == 0.0).all()), "it stops where the stick is let go")


def test_software_rendering_is_noticed_and_the_depth_image_is_shown(
    view: WebView, page: Page
) -> None:
    _wait(lambda: view.scene.light, "the drawing stays full without a GPU")
    assert view.panel.page.frames is not None
    pixels = "__viserMutable.canvas.width / __viserMutable.canvas.clientWidth"
    page.wait_for(f"{pixels} < 0.6")
    view.panel.depth.box.value = True
    page.click("[...document.querySelectorAll('[role=tab]')].find(t => /Depth/.test(t.innerText))")
    page.wait_for("[...document.images].some(i => i.offsetParent && i.naturalWidth > 200)")


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.2)


def _walk(view: WebView) -> None:
    with contextlib.suppress(SystemExit):
        view.run()


def _end() -> None:
    raise SystemExit


def _picture(page: Page) -> np.ndarray:
    """The scene beside the panel, [H, W] brightness."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("L")
    return np.asarray(image, dtype=np.float64)[:, : image.width * 2 // 5]
