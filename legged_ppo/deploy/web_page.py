"""A static page in which anyone drives an exported policy: physics, network and pictures run in the browser.

Physics (@mujoco/mujoco), onnxruntime-web and three.js come from npm's packages and are copied beside the page;
nothing is fetched from elsewhere while it is viewed.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.deploy.export import export_policy
from legged_ppo.deploy.metadata import Metadata
from legged_ppo.deploy.network import require
from legged_ppo.deploy.scene import other_files
from legged_ppo.deploy.simulation import Simulation
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.model import FOOT, TERMINATION, build_spec, sensor_columns
from legged_ppo.terrain.grid import Terrain, build_terrain

_log = logging.getLogger(__name__)

_PAGE = Path(__file__).parent / "page"
_PACKAGES = {"@mujoco/mujoco": "3.14.0", "onnxruntime-web": "1.30.0", "three": "0.187.0"}
_VENDOR = (
    *("@mujoco/mujoco/mujoco.js", "@mujoco/mujoco/mujoco.wasm"),
    "onnxruntime-web/dist/ort.wasm.min.mjs",
    *(f"onnxruntime-web/dist/ort-wasm-simd-threaded.{suffix}" for suffix in ("mjs", "wasm")),
    *("three/build/three.module.js", "three/build/three.core.js"),
)
"""Files of the packages that the page loads."""
_INSTALL_TIMEOUT = 600
"""s"""


def write_page(
    policy: ActorCritic,
    config: Config,
    folder: Path,
    place: tuple[str, int] | None = None,
    checkpoint: dict[str, Any] | None = None,
) -> None:
    """Write the page into a folder, which is made; any static web server can serve it.

    Args:
        place: terrain type and level of the endless tile; None takes the first type's easiest.
        checkpoint: entries for the metadata's `origin`.

    Raises:
        ConfigError: the folder holds something else, or the policy reads what no robot or this page has.
        UsageError: a package is missing, or the robot has meshes, which the page cannot draw.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "page.json").is_file():
        raise ConfigError("--share", str(folder), "a new or empty folder, or one with such a page")
    robot = load_robot(config.robot)
    if others := other_files(robot):
        raise UsageError(f"the page cannot draw a robot with meshes ({others[0]})")
    terrain = build_terrain(config.terrain, load_extensions(config.extensions).terrains)
    column, level = terrain.place(*place) if place else (0, 0)
    require("onnx", "onnxscript", "onnxruntime")
    packages = _packages()
    where = (terrain.types[column], level)
    from legged_ppo.deploy.policy_file import OnnxPolicy

    with tempfile.TemporaryDirectory() as temporary:
        graph = Path(temporary) / "policy.onnx"
        export_policy(policy, config, graph, place=where, checkpoint=checkpoint)
        exported = OnnxPolicy(graph)
        start = Simulation(exported.metadata, graph.with_suffix(".xml"), graph.name)
        start.reset(start.tiles[0])
        xml, model = _scene(robot, terrain, (column, level), config)
        page = _page(exported.metadata, robot, model, terrain, (column, level))
        page["start_qpos"] = start.data.qpos.tolist()
        content = graph.read_bytes()
    (folder / "vendor").mkdir(parents=True, exist_ok=True)
    for file in _PAGE.iterdir():
        shutil.copy(file, folder / file.name)
    for name in _VENDOR:
        shutil.copy(packages / name, folder / "vendor" / Path(name).name)
    (folder / "vendor" / "LICENSES.txt").write_text(_licences(packages))
    (folder / "policy.onnx").write_bytes(content)
    (folder / "scene.xml").write_text(xml)
    (folder / "page.json").write_text(json.dumps(page))


def _scene(
    robot: RobotSpec, terrain: Terrain, place: tuple[int, int], config: Config
) -> tuple[str, mujoco.MjModel]:
    """MJCF of the physics with the geoms for the eye, and the model that it compiles to."""
    add_ground = partial(terrain.add_endless, column=place[0], level=place[1])
    spec = build_spec(robot, add_ground, config.sim)
    model = spec.compile()
    return str(spec.to_xml()), model


def _page(
    metadata: Metadata,
    robot: RobotSpec,
    model: mujoco.MjModel,
    terrain: Terrain,
    place: tuple[int, int],
) -> dict[str, Any]:
    """What the page's scripts read beside graph and scene."""
    joints = [model.joint(name).id for name in robot.config.joints]
    forces = [sensor_columns(model, f"{FOOT}{n}:force")[0] for n in robot.config.foot_geoms]
    name, level = terrain.types[place[0]], place[1]
    return {
        "title": f"{robot.config.name} on {name}, level {level}",
        "metadata": asdict(metadata),
        "base_body": int(model.body(robot.config.base_body).id),
        "qpos": model.jnt_qposadr[joints].tolist(),
        "qvel": model.jnt_dofadr[joints].tolist(),
        "foot_forces": [columns.tolist() for columns in forces],
        "terminations": [int(c[0]) for c in sensor_columns(model, TERMINATION)],
        "tile": {"origin": terrain.origins[place].tolist(), "size": terrain.config.tile_size},
        "heights": np.round(terrain.heights[place].astype(float), 5).tolist(),
    }


def _licences(packages: Path) -> str:
    """Names, versions and licences of the packages."""
    parts = []
    for name in _PACKAGES:
        about = json.loads((packages / name / "package.json").read_text())
        parts.append(f"{name} {about['version']}: {about['license']}")
        if (text := packages / name / "LICENSE").is_file():
            parts.append(text.read_text())
    return "\n\n".join(parts)


def _packages() -> Path:
    """Folder of the installed packages, in the user's cache; installed by npm at the first use.

    Raises:
        UsageError: they are not there and npm is missing or fails.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "legged_ppo"
    versions = "-".join(_PACKAGES.values())
    folder = cache / f"web-{versions}"
    modules = folder / "node_modules"
    if all((modules / name).is_file() for name in _VENDOR):
        return modules
    wanted = [f"{name}@{version}" for name, version in _PACKAGES.items()]
    npm = shutil.which("npm")
    if npm is None:
        raise UsageError(
            f"the page needs {', '.join(wanted)}, once", "install npm, which fetches them"
        )
    _log.info("installing %s into %s", ", ".join(wanted), folder)
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--prefix", str(folder)]
    try:
        done = subprocess.run(
            [npm, "install", *flags, *wanted],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise UsageError("npm install did not end", "is its registry reachable?") from None
    if done.returncode or not all((modules / name).is_file() for name in _VENDOR):
        reason = (done.stderr.strip().splitlines() or ["files are missing"])[-1]
        raise UsageError(f"npm install failed: {reason}", "is its registry reachable?")
    return modules
