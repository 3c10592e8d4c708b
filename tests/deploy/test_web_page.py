"""play.py --share: a page in which the exported policy is driven, in a headless Chromium without a network."""

from __future__ import annotations

import copy
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from browser import Page, browser, find_browser, served
from PIL import Image

from legged_ppo.config.schema import Config
from legged_ppo.deploy import web_page
from legged_ppo.deploy.camera import Camera
from legged_ppo.deploy.policy_file import OnnxPolicy
from legged_ppo.deploy.simulation import Simulation
from legged_ppo.deploy.walker import Walker
from legged_ppo.deploy.web_page import write_page
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.models.actor_critic import ActorCritic

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

_STEPS = 12


@pytest.fixture(scope="module")
def page(
    network: ActorCritic, deployed_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The page on rough ground."""
    folder = tmp_path_factory.mktemp("share") / "page"
    try:
        write_page(network, deployed_config, folder, ("rough", 1))
    except UsageError as error:
        pytest.skip(str(error))
    return folder


@pytest.fixture
def tab(page: Path) -> Iterator[Page]:
    if (program := find_browser()) is None:
        pytest.skip("no Chromium here: make apt-browser")
    with served(page) as address, browser(program) as opened:
        opened.open(address)
        opened.wait_for("window.leggedPPO && leggedPPO.steps > 3")
        yield opened


def test_the_robot_in_the_page_walks_as_the_runners(
    tab: Page, page: Path, exported: Path, network: ActorCritic, tmp_path: Path
) -> None:
    """A second robot beside the one of the page: its physics is that of another version of MuJoCo."""
    found = tab.run(
        "(async () => {"
        " const {Robot} = await import('./robot.js');"
        " const {mujoco, ort, page} = leggedPPO.robot;"
        " const xml = await (await fetch('scene.xml')).text();"
        " const session = await ort.InferenceSession.create('policy.onnx');"
        " const robot = new Robot(mujoco, xml, page, session, ort);"
        " const rows = [];"
        f" for (let i = 0; i < {_STEPS}; i++) {{"
        "   await robot.step([0.4, 0.1, 0.3]);"
        "   rows.push([Array.from(robot.data.qpos), robot.action, Array.from(robot.state)]); }"
        " return rows; })()"
    )
    policy = OnnxPolicy(page / "policy.onnx")
    scene = tmp_path / "scene.xml"
    scene.write_text((page / "scene.xml").read_text())
    simulation = Simulation(policy.metadata, scene, "p")
    walker = Walker(policy, simulation, "p")
    data = json.loads((page / "page.json").read_text())
    walker.restart(simulation.tiles[0], np.random.default_rng(0), np.array([0.4, 0.1, 0.3]))
    walker.observer.restart(0.0)
    simulation.data.qpos[:] = data["start_qpos"]
    walker.sensors = simulation.sensors()
    states = []
    for _ in range(_STEPS):
        walker.act()
        walker.commands.step(walker.yaw)
        states.append(policy._state.copy())
    qpos, action, state = found[-1]
    assert np.ptp([row[1] for row in found], axis=0).max() > 0.5
    np.testing.assert_allclose(qpos, simulation.data.qpos, atol=0.02)
    np.testing.assert_allclose(action, walker.observer.action, atol=0.2)
    np.testing.assert_allclose(found[0][2], states[0].ravel(), atol=1e-3)
    assert not np.allclose(found[0][2], state)  # the state is carried


def test_keys_and_touches_command_and_nothing_comes_from_elsewhere(tab: Page) -> None:
    tab.key("w", down=True)
    tab.wait_for("Math.abs(leggedPPO.robot.command[0] - 0.7) < 1e-9")
    tab.key("q", down=True)
    tab.wait_for("leggedPPO.robot.command[2] > 0.5")
    for key in "wq":
        tab.key(key, down=False)
    tab.wait_for("leggedPPO.robot.command.every(x => x === 0)")
    box = "document.querySelector('[data-key=d]').getBoundingClientRect()"
    x, y = tab.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")
    tab.touch(x, y)
    tab.wait_for("leggedPPO.robot.command[1] < -0.3")
    tab.release()
    tab.wait_for("leggedPPO.robot.command[1] === 0")
    tab.wait_for("leggedPPO.falls > 0 || leggedPPO.steps > 200")
    loaded = tab.run("performance.getEntriesByType('resource').map(e => new URL(e.name).host)")
    assert set(loaded) == {tab.run("location.host")}
    assert tab.errors == []
    picture = Image.open(io.BytesIO(tab.screenshot())).convert("L")
    middle = np.asarray(picture, dtype=float)[180:420, 300:660]
    assert middle.std() > 15 and middle.min() < 60  # the robot's dark limbs on light ground


def test_the_page_has_what_it_needs_and_licences(page: Path) -> None:
    text = "".join(file.read_text() for file in page.glob("*.[jh]*"))
    assert "import" in text and "http" not in text
    licences = (page / "vendor" / "LICENSES.txt").read_text()
    assert "three" in licences and "MIT" in licences and "Apache-2.0" in licences
    data = json.loads((page / "page.json").read_text())
    assert data["title"] == "go2 on rough, level 1"
    assert math.isclose(data["tile"]["size"], 8.0)


def test_a_page_is_replaced_and_anything_else_is_not(
    network: ActorCritic, deployed_config: Config, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="a new or empty folder"):
        write_page(network, deployed_config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_camera_of_the_page_sees_what_the_runners_sees(
    deployed_config: Config, make_policy: Callable[[Config], ActorCritic], tmp_path: Path
) -> None:
    if (program := find_browser()) is None:
        pytest.skip("no Chromium here: make apt-browser")
    config = copy.deepcopy(deployed_config)
    depth = config.task.observations.depth
    depth.enabled, depth.rows, depth.columns, depth.pitch_deg = True, 9, 13, 30.0
    depth.period_s, depth.latency_s = [0.06, 0.06], [0.02, 0.02]
    policy, folder = make_policy(config), tmp_path / "page"
    try:
        write_page(policy, config, folder, ("rough", 1))
    except UsageError as error:
        pytest.skip(str(error))
    with served(folder) as address, browser(program) as tab:
        tab.open(address)
        tab.wait_for("window.leggedPPO && leggedPPO.steps > 3")
        poses, images, shown = tab.run(
            "(async () => {"
            " const {Robot} = await import('./robot.js');"
            " const {mujoco, ort, page} = leggedPPO.robot;"
            " const xml = await (await fetch('scene.xml')).text();"
            " const robot = new Robot(mujoco, xml, page,"
            "   await ort.InferenceSession.create('policy.onnx'), ort);"
            " const poses = [], images = [];"
            f" for (let i = 0; i < {_STEPS}; i++) {{"
            "   poses.push(Array.from(robot.data.qpos));"
            "   await robot.step([0.4, 0.1, 0.3]);"
            "   images.push(robot.camera.depths); }"
            " const canvas = document.getElementById('sight');"
            " const pixels = canvas.getContext('2d').getImageData(0, 0, 13, 9).data;"
            " return [poses, images, [canvas.width, canvas.height, Array.from(pixels)]]; })()"
        )
        assert tab.errors == []
    scene = tmp_path / "scene.xml"
    scene.write_text((folder / "scene.xml").read_text())
    metadata = OnnxPolicy(folder / "policy.onnx").metadata
    simulation = Simulation(replace(metadata, camera={}), scene, "p")
    camera = Camera(metadata.camera, metadata.dt)
    for pose, image in zip(poses, images, strict=True):
        simulation.data.qpos[:] = pose
        mujoco.mj_forward(simulation.model, simulation.data)
        expected = camera(simulation.model, simulation.data, simulation._rays)
        np.testing.assert_allclose(image, expected, atol=1e-4)
    assert np.std(images[0]) > 0.1 and not np.allclose(images[0], images[-1], atol=1e-3)
    assert shown[:2] == [13, 9] and np.std(shown[2][::4]) > 10


def test_without_npm_the_packages_are_named(
    network: ActorCritic,
    deployed_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match=r"@mujoco/mujoco@.*install npm"):
        write_page(network, deployed_config, tmp_path / "page")
    assert not (tmp_path / "page").exists() and web_page._PACKAGES
