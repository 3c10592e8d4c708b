"""The runner, which has no torch, does what the environment and the evaluation do."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from legged_ppo.config.schema import CommandConfig, Config
from legged_ppo.deploy import episodes, observations
from legged_ppo.deploy.camera import pixel_rays
from legged_ppo.deploy.commands import Commands
from legged_ppo.deploy.export import export_policy
from legged_ppo.deploy.layout import describe
from legged_ppo.deploy.metadata import Term
from legged_ppo.deploy.policy_file import OnnxPolicy
from legged_ppo.deploy.simulation import Simulation
from legged_ppo.deploy.walker import Walker
from legged_ppo.env import rewards
from legged_ppo.env.commands import VelocityCommands
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation import evaluator
from legged_ppo.evaluation.evaluator import EpisodeMeter, evaluate_policy, evaluation_config
from legged_ppo.interface import Observations
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.runtime.intervals import wilson_interval
from legged_ppo.sensors.depth_rendering import pixel_directions
from legged_ppo.terrain import curriculum

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def nominal(config: Config) -> Config:
    """The robot of the file, without noise: what the runner simulates."""
    config = evaluation_config(copy.deepcopy(config))
    config.task.observations.noise = False
    drawn = config.task.randomization
    for name in ("friction", "added_mass", "com_shift", "kp_scale", "kd_scale", "motor_strength"):
        setattr(drawn, name, [])
    return config


def make_walker(path: Path) -> Walker:
    policy = OnnxPolicy(path)
    return Walker(policy, Simulation(policy.metadata, path.with_suffix(".xml"), "p"), "p")


def start_alike(
    env: LocomotionEnv, walker: Walker, column: int, level: int, command: np.ndarray
) -> Observations:
    """Start one episode of both at the same place with the same clock; returns the observations of `env`."""
    env.commands.fix(tuple(command))
    env.place(column, level)
    env.start_episodes_together()
    env.clock.phase.zero_()
    tile = walker.simulation.tiles[column * env.terrain.num_levels + level]
    state = env.simulator.state
    walker.restart(tile, np.random.default_rng(0), command)
    walker.sensors = walker.simulation.reset(
        tile,
        offset=tuple((state.base_pos[0, :2].numpy() - tile.origin[:2]).tolist()),
        yaw=float(env.survey.yaw[0]),
    )
    walker.commands.restart(walker.yaw)
    walker.observer.restart(0.0)
    return env._observe()


@pytest.mark.parametrize(
    ("column", "level", "steps", "tolerance"), [(0, 0, 20, 1e-4), (1, 1, 5, 0.05)]
)
def test_a_walk_in_the_runner_is_the_walk_in_the_environment(
    column: int,
    level: int,
    steps: int,
    tolerance: float,
    exported: Path,
    network: ActorCritic,
    deployed_config: Config,
) -> None:
    """On rough ground heights of rays and of the height map, 10 cm a cell, differ by millimetres."""
    config = nominal(deployed_config)
    config.task.randomization.init_joint_pos = config.task.randomization.init_velocity = 0.0
    env, walker = make_locomotion_env(config, 1, 0), make_walker(exported)
    command = np.array([0.4, 0.1, 0.3])
    obs = start_alike(env, walker, column, level, command)
    actor, first = RecurrentPolicy(network, 1, env.device), walker.sensors.joint_pos
    for _ in range(steps):
        groups = walker.observer(walker.sensors, walker.commands.command)
        for name, group in groups.items():
            np.testing.assert_allclose(group, obs[name].numpy(), atol=tolerance, err_msg=name)
        walker.act()
        walker.commands.step(walker.yaw)
        result = env.step(actor.act(obs))
        actor.note_ends(result)
        obs = result.obs
        if bool(result.terminated[0]) or walker.fell:
            assert bool(result.terminated[0]) == walker.fell
            break
    assert np.abs(walker.sensors.joint_pos - first).max() > 0.1


def seeing(config: Config) -> Config:
    """With a camera of 10 Hz whose images come 40 ms late, mounted without errors."""
    config = nominal(config)
    config.task.randomization.init_joint_pos = config.task.randomization.init_velocity = 0.0
    depth = config.task.observations.depth
    depth.enabled, depth.rows, depth.columns, depth.pitch_deg = True, 9, 13, 30.0
    depth.period_s, depth.latency_s = [0.1, 0.1], [0.04, 0.04]
    depth.position_error = depth.angle_error_deg = 0.0
    return config


@pytest.mark.parametrize(("column", "level"), [(0, 0), (1, 1)])
def test_the_runners_camera_sees_what_the_environments_sees(
    column: int,
    level: int,
    deployed_config: Config,
    make_policy: Callable[[Config], ActorCritic],
    tmp_path: Path,
) -> None:
    """Of a policy that nearly stands; on rough ground pixels at edges may differ."""
    config = seeing(deployed_config)
    policy, path = make_policy(config), tmp_path / "p.onnx"
    export_policy(policy, config, path)
    env, walker = make_locomotion_env(config, 1, 0), make_walker(path)
    assert [group.name for group in walker.policy.metadata.observations][-1] == "depth"
    obs = start_alike(env, walker, column, level, np.array([0.4, 0.1, 0.3]))
    actor, images = RecurrentPolicy(policy, 1, env.device), []
    for _ in range(12):
        groups = walker.observer(walker.sensors, walker.commands.command)
        error = np.abs(groups["depth"][0] - obs["depth"].flatten(1)[0].numpy())
        assert np.median(error) < 2e-3 and (error > 0.05).mean() < 0.03
        images.append(groups["depth"])
        walker.act()
        obs = env.step(actor.act(obs)).obs
    changes = [not np.array_equal(a, b) for a, b in itertools.pairwise(images)]
    assert [i for i, changed in enumerate(changes, 1) if changed] == [5, 10]
    assert images[0].min() >= -0.5 and images[0].max() <= 0.5 and images[0].std() > 0.1


def test_the_runners_pixels_are_those_of_the_sensor() -> None:
    np.testing.assert_allclose(pixel_rays(5, 7, 80.0).T, pixel_directions(5, 7, 80.0), atol=1e-6)


def test_figures_of_an_episode_are_those_of_the_evaluation(
    exported: Path, network: ActorCritic, deployed_config: Config
) -> None:
    config = nominal(deployed_config)
    config.task.randomization.init_joint_pos = config.task.randomization.init_velocity = 0.0
    env, walker = make_locomotion_env(config, 1, 0), make_walker(exported)
    obs = start_alike(env, walker, 0, 0, np.array([0.5, -0.2, 0.4]))
    meter, actor = EpisodeMeter(env), RecurrentPolicy(network, 1, env.device)
    while bool(meter.alive.any()) and meter._begun[0] < env.max_episode_length - 1:
        result = env.step(actor.act(obs))
        actor.note_ends(result)
        meter.add(env, result)
        obs = result.obs
    wanted, found = meter.episodes(env), episodes._run(walker)
    assert found.fell == bool(wanted.fell[0]) and found.success == bool(wanted.success[0])
    assert found.seconds == pytest.approx(wanted.duration[0], abs=0.1)
    assert found.steps == pytest.approx(wanted.steps[0], abs=5)
    steps = max(found.steps, 1)
    for name in ("lin_vel_error", "yaw_rate_error"):
        mean = getattr(wanted, name)[0] / wanted.steps[0]
        assert getattr(found, name) / steps == pytest.approx(mean, rel=0.1)


def test_success_over_64_episodes_is_that_of_the_evaluation(
    deployed_config: Config, make_policy: Callable[[Config], ActorCritic], tmp_path: Path
) -> None:
    """A policy that nearly stands: it succeeds where it is to stand. The two rates differ by more
    than both 95 % intervals once in some 200 choices of seeds; these seeds are fixed."""
    deployed_config.task.commands.standing_fraction = 0.7
    policy, path = make_policy(deployed_config), tmp_path / "policy.onnx"
    export_policy(policy, deployed_config, path)
    found = episodes.run_episodes(make_walker(path), 64, seed=0)
    rate = sum(each.success for each in found) / 64
    wanted = evaluate_policy(policy, nominal(deployed_config), 64, seed=0)
    assert 0.1 < wanted["overall"]["success_rate"] < 0.9
    low, high = wilson_interval(round(64 * rate), 64)
    assert low <= wanted["overall"]["success_ci95"][1]
    assert high >= wanted["overall"]["success_ci95"][0]
    errors = np.array([e.lin_vel_error for e in found]) / [max(e.steps, 1) for e in found]
    spread = 3 * errors.std() / 8
    assert abs(errors.mean() - wanted["overall"]["lin_vel_error"]) < spread


@pytest.mark.parametrize("heading", [False, True])
@pytest.mark.parametrize("ground", ["", "flat", "gaps"])
def test_drawn_commands_are_those_of_training(heading: bool, ground: str) -> None:
    config = CommandConfig(heading=heading, resample_time_s=0.49, standing_fraction=0.3)
    config.flat_velocity, config.forward_types = [0.2, 0.6], ["gaps"]
    unit = np.random.default_rng(0).random((24, 5)).astype(np.float32)
    theirs = VelocityCommands(config, 1, 0.02, torch.Generator())
    theirs.plan(len(unit))
    theirs._planned = torch.from_numpy(unit)[:, None]
    theirs.on_flat[:], theirs.on_forward[:] = ground == "flat", ground == "gaps"

    class Numbers:
        rows = iter(unit.astype(float))

        def random(self, count: int) -> np.ndarray:
            return next(self.rows)

    ours = Commands(config, 0.02, Numbers(), ground)
    walk = np.cumsum(0.05 * np.random.default_rng(1).standard_normal(550))
    yaw = (walk + math.pi) % (2 * math.pi) - math.pi
    theirs.resample(torch.ones(1, dtype=torch.bool))
    theirs.steer(torch.tensor([yaw[0]]).float())
    ours.restart(float(yaw[0]))
    seen = set()
    for angle in yaw[1:]:
        theirs.step(torch.tensor([angle]).float())
        ours.step(float(angle))
        np.testing.assert_allclose(ours.command, theirs.command[0].numpy(), atol=2e-4)
        difference = ours.course - float(theirs.course[0])
        assert abs(math.remainder(difference, math.tau)) < 2e-3
        seen.add(tuple(ours.command[:2].round(3)))
    assert len(seen) > 3


def test_constants_that_the_runner_repeats_are_the_environments() -> None:
    assert rewards._STANDING == observations.STANDING
    assert curriculum._SOLVED_SHARE == episodes._SOLVED_SHARE
    assert curriculum.STANDING_PATH == episodes._STANDING_PATH
    for name in ("_STAY", "_TURN_SLACK", "_TURN_SHARE"):
        assert getattr(evaluator, name) == getattr(episodes, name)


@pytest.mark.parametrize(
    ("figures", "obeyed"),
    [
        ((0.0, 7.1, 10.0, 9.0, 0.0), True),  # it walked; moved counts for standing alone
        ((9.0, 6.9, 10.0, 0.0, 0.0), False),
        ((0.4, 0.0, 0.0, 0.5, 0.0), True),  # it stood
        ((0.6, 0.0, 0.0, 0.0, 0.0), False),
        ((0.0, 0.0, 0.0, -0.7, 0.0), False),
        ((0.1, 0.0, 0.0, -3.0, 20.0), True),  # it turned on the spot
    ],
)
def test_standing_succeeds_by_staying(figures: tuple[float, ...], obeyed: bool) -> None:
    assert episodes._obeyed(*figures) is obeyed


def test_the_same_seed_gives_the_same_episodes(exported: Path) -> None:
    walker = make_walker(exported)
    first, again, other = (episodes.run_episodes(walker, 3, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert {each.terrain_type for each in first} == {"flat", "rough"}


def test_a_term_of_an_extension_is_refused_by_name(exported: Path, deployed_config: Config) -> None:
    policy = OnnxPolicy(exported)
    group = replace(policy.metadata.observations[0], terms=[Term("sniffer", 1, "1", "smell")])
    policy.metadata = replace(policy.metadata, observations=[group])
    with pytest.raises(ConfigError, match="sniffer"):
        observations.Observer(policy.metadata, "p")


def test_the_noise_of_an_extension_group_is_in_the_metadata(deployed_config: Config) -> None:
    env = make_locomotion_env(deployed_config, 1, 0)
    found = describe(deployed_config, env.robot, {"mine": 7}, [], {})
    assert found.observations[0].width == 7 and "mine" in found.observations[0].terms[0].meaning
