"""From a trained policy to the files that a robot or another simulator takes."""

from __future__ import annotations

import io
import logging
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.deploy.golden_trace import (
    TOLERANCE,
    Call,
    Trace,
    as_bytes,
    record_trace,
    replay_error,
)
from legged_ppo.deploy.layout import describe
from legged_ppo.deploy.network import (
    DeployedNetwork,
    require,
    to_onnx,
    to_torchscript,
    write_whole,
)
from legged_ppo.deploy.scene import other_files, scene_xml
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.robots.spec import BUILT_IN, load_robot
from legged_ppo.runs.provenance import provenance
from legged_ppo.terrain.grid import build_terrain

_log = logging.getLogger(__name__)


def export_policy(
    policy: ActorCritic,
    config: Config,
    path: Path,
    *,
    form: str = "onnx",
    place: tuple[str, int] | None = None,
    checkpoint: dict[str, Any] | None = None,
) -> list[Path]:
    """Write the graph, beside it its golden trace (.npz) and, for the runner, its scene (.xml).

    The graph is replayed against the trace before anything is written.

    Args:
        path: of the graph.
        form: onnx or torchscript.
        place: terrain type and level of the scene, endless; None takes the recipe's whole grid.
        checkpoint: entries for the metadata's `origin`.

    Returns:
        the files written.

    Raises:
        ConfigError: the policy reads what no robot has, or there is no such place.
        UsageError: a package for the format is missing.
    """
    if form == "onnx":
        require("onnx", "onnxscript", "onnxruntime")
    robot = load_robot(config.robot)
    default = torch.from_numpy(robot.default_joint_pos)
    network = DeployedNetwork(policy, default, config.robot.action_scale, config.task.action_clip)
    origin = (checkpoint or {}) | _origin()
    metadata = describe(_portable(config), robot, network.groups, network.state_shape, origin)
    terrain = build_terrain(config.terrain, load_extensions(config.extensions).terrains)
    where = terrain.place(*place) if place else None
    trace = record_trace(policy, network, config)
    content = to_onnx(network, metadata) if form == "onnx" else to_torchscript(network, metadata)
    _check(content, form, trace, network)
    files = {path: content, path.with_suffix(".npz"): as_bytes(trace)}
    if others := other_files(robot):
        _log.info("no scene: the robot's MJCF refers to other files (%s)", others[0])
    else:
        files[path.with_suffix(".xml")] = scene_xml(robot, terrain, where).encode()
    for file, data in files.items():
        write_whole(file, data)
    return list(files)


def _check(content: bytes, form: str, trace: Trace, network: DeployedNetwork) -> None:
    """Replay the graph that is about to be written.

    Raises:
        RuntimeError: it differs from the policy, which is a defect of the export.
    """
    call = _onnx_call(content) if form == "onnx" else _torchscript_call(content, network)
    error = replay_error(trace, call)
    if not error <= TOLERANCE:
        raise RuntimeError(f"the exported graph differs from the policy by {error:.2g}")
    _log.info(
        "replayed %d steps against the policy: largest difference %.1g",
        len(trace["starts"]),
        error,
    )


def _onnx_call(content: bytes) -> Call:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _torchscript_call(content: bytes, network: DeployedNetwork) -> Call:
    graph = torch.jit.load(io.BytesIO(content))

    def call(inputs: Any) -> Any:
        tensors = [torch.from_numpy(inputs[name]) for name in network.input_names]
        with torch.no_grad():
            outputs = [each.numpy() for each in graph(*tensors)]
        return dict(zip(network.output_names, outputs, strict=True))

    return call


def _portable(config: Config) -> Config:
    """The recipe without a path of this machine."""
    if config.robot.mjcf in BUILT_IN:
        return config
    return replace(config, robot=replace(config.robot, mjcf=Path(config.robot.mjcf).name))


def _origin() -> dict[str, Any]:
    """Versions and commit of the exporting package."""
    found = {key: value for key, value in provenance().items() if key != "command"}
    return found | {"torch": torch.__version__, "python": platform.python_version()}
