"""The exported graph is the policy: over whole episodes, for every kind of policy, in both formats."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from legged_ppo.config.schema import Config
from legged_ppo.deploy.export import export_policy
from legged_ppo.deploy.golden_trace import record_trace, replay_error
from legged_ppo.deploy.metadata import (
    ACTION,
    KEY,
    STATE_IN,
    STATE_OUT,
    TARGETS,
    Metadata,
    RobotFigures,
)
from legged_ppo.deploy.network import DeployedNetwork, to_onnx
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.models import linear
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.robots.spec import load_robot

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def deployed(policy: ActorCritic, config: Config) -> DeployedNetwork:
    default = torch.from_numpy(load_robot(config.robot).default_joint_pos)
    return DeployedNetwork(policy, default, config.robot.action_scale, config.task.action_clip)


def session_call(content: bytes | Path) -> Callable[[Mapping[str, np.ndarray]], dict]:
    source = content if isinstance(content, bytes) else str(content)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def test_the_graph_is_the_policy_over_500_steps_with_resets(
    exported: Path, network: ActorCritic, deployed_config: Config
) -> None:
    trace = record_trace(network, deployed(network, deployed_config), deployed_config, 3, steps=500)
    assert trace["starts"].sum() >= 4  # episodes of 2 s, which the policy may end sooner
    assert np.abs(trace[ACTION]).max() > 1.0 and np.abs(trace[STATE_OUT]).max() > 0.1
    call = session_call(exported)
    assert replay_error(trace, call) <= 1e-4
    carried = trace | {"starts": np.arange(500) == 0}
    assert replay_error(carried, call) > 1e-2, "resets do not show"


def test_targets_are_what_the_environment_gives_the_engine(
    network: ActorCritic, deployed_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make_locomotion_env(deployed_config, 1, 0)
    obs = env.start_episodes_together()
    graph = deployed(network, deployed_config)
    given: list[torch.Tensor] = []
    step = env.simulator.step

    def noted(targets: torch.Tensor, *rest: Any) -> None:
        given.append(targets)
        step(targets, *rest)

    monkeypatch.setattr(env.simulator, "step", noted)
    groups = [100.0 * obs[name] for name in graph.groups]  # some actions are clipped
    outputs = graph(*groups, torch.zeros(graph.state_shape))
    state = network.initial_state(1, env.device)
    scaled = {name: 100.0 * group for name, group in obs.items()}
    distribution, _ = network.act(network.normalize(scaled), state, torch.ones(1, dtype=torch.bool))
    monkeypatch.setattr(deployed_config.task, "action_clip", 1.0)
    clipped = deployed(network, deployed_config)(*groups, torch.zeros(graph.state_shape))
    env.step(distribution.mode)
    assert (clipped[1].abs() == 1.0).any() and (outputs[1].abs() > 1.0).any()
    torch.testing.assert_close(clipped[0], given[0])


@pytest.mark.parametrize(
    "change",
    [
        {"gru_layers": 0},
        {"gru_layers": 2, "critic_memory": "shared"},
        {"scandots_latent": 0},
        {"distribution": "beta"},
        {"normalize_observations": False, "actor_skip": True},
        {"critic_privileged": True, "critic_memory": "none"},
    ],
    ids=str,
)
def test_every_kind_of_policy_exports(
    change: dict[str, object],
    deployed_config: Config,
    make_policy: Callable[[Config], ActorCritic],
    tmp_path: Path,
) -> None:
    config = replace(deployed_config, policy=replace(deployed_config.policy, **change))
    policy = make_policy(config)
    export_policy(policy, config, tmp_path / "p.onnx")  # replays the trace
    names = {each.name for each in _inputs(tmp_path / "p.onnx")}
    assert (STATE_IN in names) == (config.policy.gru_layers > 0)
    assert ("scandots" in names) == (config.policy.scandots_latent > 0)
    assert "privileged" not in names


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_a_student_takes_its_camera_and_not_the_critics_scandots(
    form: str,
    deployed_config: Config,
    make_policy: Callable[[Config], ActorCritic],
    tmp_path: Path,
) -> None:
    config = copy.deepcopy(deployed_config)
    config.policy.critic_memory = "none"
    depth = config.task.observations.depth
    depth.enabled, depth.rows, depth.columns = True, 9, 13
    policy, path = make_policy(config), tmp_path / "p.onnx"
    assert "scandots" in policy.obs_dims
    export_policy(policy, config, path, form=form)  # replays the trace
    trace = np.load(path.with_suffix(".npz"))
    assert set(trace) == {
        *("proprioception", "commands", "depth", "starts"),
        *(STATE_IN, STATE_OUT, TARGETS, ACTION),
    }
    assert trace["depth"].shape == (200, 1, 9 * 13) and trace["depth"].std() > 0.1
    if form == "onnx":
        session = onnxruntime.InferenceSession(str(path))
        camera = json.loads(session.get_modelmeta().custom_metadata_map[KEY])["camera"]
        assert camera["rows"] == 9 and camera["position"][0] > 0.2 and camera["holes"] > 0


def test_a_large_network_holds_no_operator_of_torch_alone(
    deployed_config: Config,
    make_policy: Callable[[Config], ActorCritic],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear, "_CALL_COST", 0)
    config = replace(deployed_config, policy=replace(deployed_config.policy, gru_hidden=24))
    graph = deployed(make_policy(config), config)
    onnxruntime.InferenceSession(to_onnx(graph, metadata_of_nothing()))


def test_torchscript_takes_the_same_inputs(
    deployed_config: Config, network: ActorCritic, tmp_path: Path
) -> None:
    path = tmp_path / "policy.pt"
    export_policy(network, deployed_config, path, form="torchscript")
    extra = {KEY: ""}
    graph = torch.jit.load(path, _extra_files=extra)
    metadata = json.loads(extra[KEY])
    trace = np.load(path.with_suffix(".npz"))
    names = [group["name"] for group in metadata["observations"]] + [STATE_IN]
    outputs = graph(*(torch.from_numpy(trace[name][1]) for name in names))
    for name, value in zip((TARGETS, ACTION, STATE_OUT), outputs, strict=True):
        np.testing.assert_allclose(value.detach().numpy(), trace[name][1], atol=1e-5)


def test_metadata_say_what_the_environment_observes(
    exported: Path, deployed_config: Config, network: ActorCritic
) -> None:
    session = onnxruntime.InferenceSession(str(exported))
    metadata = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    env = make_locomotion_env(deployed_config, 1, 0)
    for group in metadata["observations"]:
        assert sum(term["width"] for term in group["terms"]) == env.obs_dims[group["name"]]
    robot = metadata["robot"]
    assert robot["joints"] == deployed_config.robot.joints
    assert robot["kp"] == [25.0] * 12 and robot["kd"] == [0.5] * 12
    assert metadata["dt"] == pytest.approx(0.02)
    assert metadata["recurrent_state"] == [1, 1, 16]  # without the critic's layer
    assert metadata["config"]["robot"]["mjcf"] == "go2"
    assert metadata["origin"]["checkpoint"] == "phase1_best.pth"
    assert "command" not in metadata["origin"]  # it holds paths of the exporting machine


def test_the_trace_begins_episodes_from_zero_and_carries_the_state(exported: Path) -> None:
    trace = np.load(exported.with_suffix(".npz"))
    starts = trace["starts"]
    assert len(starts) == 200 and starts[0] and starts.sum() >= 2
    assert (trace[STATE_IN][starts] == 0.0).all()
    carried = ~starts[1:]
    np.testing.assert_array_equal(trace[STATE_IN][1:][carried], trace[STATE_OUT][:-1][carried])


def test_a_policy_that_reads_the_physical_parameters_is_refused(
    deployed_config: Config, make_policy: Callable[[Config], ActorCritic], tmp_path: Path
) -> None:
    policy = replace(deployed_config.policy, architecture="rma", critic_memory="shared")
    config = replace(deployed_config, policy=policy)
    with pytest.raises(ConfigError, match="reads extrinsics"):
        export_policy(make_policy(config), config, tmp_path / "p.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(
    deployed_config: Config,
    network: ActorCritic,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda n, *a: None if n == "onnxscript" else find(n, *a))
    with pytest.raises(UsageError, match=r"needs onnxscript; install it: .*\.\[deploy\]"):
        export_policy(network, deployed_config, tmp_path / "p.onnx")


def _inputs(path: Path) -> list:
    return list(onnxruntime.InferenceSession(str(path)).get_inputs())


def metadata_of_nothing() -> Metadata:
    robot = RobotFigures("none", "base", [], [], [], [], [], [], 0.0, [])
    return Metadata(robot, 0.02, 0.25, 10.0, [], [], {}, {}, [], {}, {})


def test_the_replay_of_the_documentation_works(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "deploy.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(exported.parent)
    names: dict[str, object] = {}
    exec(code, names)
    assert 0.0 < names["worst"] <= 1e-4


def test_the_documentation_names_every_term_and_maps_unitrees_joints(exported: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "deploy.md").read_text()
    session = onnxruntime.InferenceSession(str(exported))
    metadata = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    for group in metadata["observations"]:
        assert all(f"`{term['name']}`" in text for term in group["terms"])
    order = json.loads(text.split("UNITREE = ")[1].split("`")[0])
    parts = ("hip", "thigh", "calf")
    motors = [f"{leg}_{part}_joint" for leg in ("FR", "FL", "RR", "RL") for part in parts]
    assert [motors[i] for i in order] == metadata["robot"]["joints"]
    assert [metadata["robot"]["joints"][i] for i in order] == motors
