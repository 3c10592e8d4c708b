"""What the script in the page of the web view says, by a client that stands in for it."""

from __future__ import annotations

import json
import struct
import time
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("viser", reason="the web view's extra is not installed")

from web_client import Client, until

from legged_ppo.viewer.web import WebView

SOFTWARE = {"frames": 11.4, "software": True, "plots": False}


def drawn(view: WebView) -> tuple[int, set[str]]:
    """Triangles of the shapes of a robot, and the extensions of their materials."""
    triangles, extensions = 0, set()
    for part in view.scene.robots.parts:
        glb = part.handle.glb_data
        tree = json.loads(glb[20 : 20 + struct.unpack("<I", glb[12:16])[0]])
        extensions |= set(tree.get("extensionsUsed", ["none"]))
        for primitive in tree["meshes"][0]["primitives"]:
            triangles += len(part.bodies) * tree["accessors"][primitive["indices"]]["count"] // 3
    return triangles, extensions


def test_a_stick_drives_within_the_limits_and_the_sliders_follow(
    view: WebView, client: Client
) -> None:
    (low, high), _, (turn_low, _) = view.live.driver.limits
    assert low < 0.0 < high
    client.say(stick=[0.5, 0.0, -1.0])
    until(view, lambda: view.live.driver.command == pytest.approx((high / 2, 0.0, turn_low)))
    sliders = view.panel._sliders
    until(view, lambda: sliders[2].value == pytest.approx(turn_low))
    client.say(stick=[-1.0, 0.0, 0.0])
    until(view, lambda: view.live.driver.command == pytest.approx((low, 0.0, 0.0)))
    assert torch.allclose(view.live.env.commands.command[:, 0], torch.tensor(low))


def test_a_key_that_stays_down_goes_on_and_buttons_push_and_reset(
    view: WebView, client: Client
) -> None:
    for _ in range(3):
        client.say(press="forward")
    until(view, lambda: view.live.driver.command == pytest.approx((0.3, 0.0, 0.0)))
    until(view, lambda: int(view.live.env.episode_length.min()) > 5)
    client.say(press="reset")
    until(view, lambda: int(view.live.env.episode_length.max()) <= 5)
    pushes: list[float] = []
    view.live.push = pushes.append  # type: ignore[method-assign, assignment]
    client.say(press="push")
    until(view, lambda: pushes == [1.0])


@pytest.mark.parametrize(
    "value",
    [
        "{",
        '{"number": 1}',
        '{"number": 1, "press": "fly"}',
        '{"number": 1, "stick": [1]}',
        '{"number": 1, "stick": [NaN, 0, 0]}',
        '{"number": 1, "stick": [1e9, -1e9, 0]}',
    ],
)
def test_what_anyone_may_write_there_harms_nothing(
    value: str, view: WebView, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    client.set(view.panel.page.channel, value)
    client.press("turn left")
    until(view, lambda: view.live.driver.command is not None)
    view.run(seconds=0.1)
    command = view.live.env.commands.command
    limits = torch.tensor(view.live.driver.limits)
    assert bool(((command >= limits[:, 0]) & (command <= limits[:, 1])).all())
    assert "Traceback" not in capfd.readouterr().err


def test_a_browser_without_a_gpu_gets_few_triangles_and_no_lights_until_it_leaves(
    view: WebView, client: Client
) -> None:
    view.run(seconds=0.1)
    full, lit = drawn(view)
    client.say(draws=SOFTWARE)
    until(view, lambda: view.scene.light)
    light, unlit = drawn(view)
    assert light < 0.5 * full
    assert (lit, unlit) == ({"none"}, {"KHR_materials_unlit"})
    view.run(seconds=0.6)
    assert "11 drawn, light drawing" in view.panel.status.content
    client.__exit__()
    until(view, lambda: not view.scene.light)
    assert drawn(view)[0] == full


@pytest.mark.parametrize(("choice", "light"), [("full", False), ("light", True)])
def test_the_choice_of_a_person_holds_for_any_browser(
    choice: str, light: bool, view: WebView, client: Client
) -> None:
    client.set(view.panel._drawing, choice)
    client.say(draws={**SOFTWARE, "software": not light})
    until(view, lambda: view.panel.page.frames is not None)
    until(view, lambda: view.scene.light is light)
    view.run(seconds=0.2)
    assert view.scene.light is light


def test_the_light_drawing_sends_fewer_frames_than_steps(view: WebView) -> None:
    frames: list[Any] = []
    update = view.scene.update
    view.scene.update = lambda seconds: (frames.append(seconds), update(seconds))[1]  # type: ignore[method-assign, func-returns-value]
    view.scene.set_light(True)
    start = time.perf_counter()
    view.run(seconds=1.0)
    most = 30 * (time.perf_counter() - start) + 2
    assert 10 <= len(frames) <= min(most, 50), "at most 30 a second, of 50 steps"


def test_plots_that_nobody_sees_are_not_sent(view: WebView, client: Client) -> None:
    client.say(draws=SOFTWARE)
    until(view, lambda: not view.panel.page.plots)
    before = np.array(view.panel.plots._velocities[0].data[0])
    view.run(seconds=0.6)
    assert np.array_equal(view.panel.plots._velocities[0].data[0], before)
    client.say(draws={**SOFTWARE, "plots": True})
    until(view, lambda: not np.array_equal(view.panel.plots._velocities[0].data[0], before))


def test_the_depth_image_is_of_the_followed_robot_and_costs_nothing_until_asked_for(
    view: WebView, client: Client
) -> None:
    view.run(seconds=0.2)
    depth = view.panel.depth
    assert depth._picture is None and not depth._image.visible
    client.set(depth.box, True)
    until(view, lambda: depth._image.visible)
    rows, columns = view.live.env.make_camera(1).shape
    first = np.array(depth._image.image)
    assert first.shape == (4 * rows, 4 * columns, 3) and first.std() > 10
    assert "near is red" in depth._caption.content
    assert view.live.env.depth is None, "the policy has no camera of its own"
