"""The compiled control step: the numbers of torch's, and everything that may change between steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rollouts import actions, assert_same_results, rollout
from torch.testing import assert_close

from legged_ppo.algorithms.collector import clean_rows
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.runtime.fusion.fused import Fused

N = 21
"""No multiple of any width."""


def scandots_late(config: Config) -> None:
    sight = config.task.observations.scandots
    sight.x, sight.y = [0.1 * i for i in range(-3, 9)], [-0.3, -0.1, 0.0, 0.1, 0.2, 0.3]
    sight.latency_s, sight.period_s = [0.0, 0.05], [0.03, 0.1]


def no_options(config: Config) -> None:
    task = config.task
    task.observations.noise, task.commands.heading = False, False
    task.randomization.push_interval_s, task.randomization.latency_s = 0.0, []
    task.gait.frequency, task.gait.offsets = 0.0, []
    for name in ("gait_phase", "swing_height"):
        setattr(task.rewards, name, 0.0)
    task.rewards.only_positive = True


def flat_commands(config: Config) -> None:
    config.task.commands.flat_velocity = [0.3, 0.8]
    config.task.commands.forward_types = list(config.terrain.proportions)[1:]
    config.task.stuck_after_s = 0.3
    config.task.gait.frequency, config.task.gait.offsets = 2.0, [0.0, 0.5, 0.5, 0.0]


def depth(config: Config) -> None:
    sight = config.task.observations.depth
    sight.enabled, sight.rows, sight.columns = True, 6, 8


RECIPES = [lambda config: None, scandots_late, no_options, flat_commands, depth]


def build(
    config: Config, num_envs: int = N, fused: bool = True, compiler: str = "lanes"
) -> LocomotionEnv:
    config.sim.engine, config.sim.threads = "simd", 1
    env = make_locomotion_env(config, num_envs, seed=3)
    assert env.kernels
    env.simulator.task_compiler = compiler  # type: ignore[attr-defined]
    env.kernels = env._make_kernels() if fused else {}
    return env


def flat(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    """The tensors of nested dictionaries by path."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    return {k: v for key, item in value.items() for k, v in flat(item, f"{name}.{key}").items()}


def assert_same_steps(fused: LocomotionEnv, plain: LocomotionEnv, steps: int) -> None:
    """Every step of `fused` is that of torch from the same state, and every robot is reset."""
    fused.reset(), plain.reset()
    ended = torch.zeros(fused.num_envs, dtype=torch.bool)
    for step in range(steps):
        plain.load_state_dict(fused.state_dict())
        a, b = (env.step(actions(env, step)) for env in (fused, plain))
        ended |= b.terminated | b.truncated
        for name in ("reward", "terminated", "truncated", "obs", "final_obs", "info"):
            assert_close(getattr(a, name), getattr(b, name), rtol=2e-4, atol=2e-4)
        states = flat(fused.state_dict()), flat(plain.state_dict())
        assert_close(*states, rtol=2e-4, atol=2e-4)
    assert ended.all(), "every robot was reset"
    assert all(kernel.compiled for kernel in fused.kernels.values())


@pytest.mark.parametrize("compiler", ["lanes", "warp"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_is_that_of_torch_up_to_rounding(
    busy: Config,
    recipe: Callable[[Config], None],
    compiler: str,
    request: pytest.FixtureRequest,
) -> None:
    if compiler == "warp":
        request.getfixturevalue("as_on_gpu")  # all of whose work is compiled
    recipe(busy)
    assert_same_steps(build(busy, compiler=compiler), build(busy, fused=False), steps=45)


def test_a_step_in_front_of_warps_physics_is_that_of_torch(busy: Config, as_on_gpu: None) -> None:
    busy.sim.engine = "mujoco_warp"
    busy.sim.contacts, busy.sim.constraints, busy.sim.convex_pairs = 48, 160, 48
    fused, plain = (make_locomotion_env(busy, 4, seed=3) for _ in range(2))
    assert fused.kernels
    plain.kernels = {}
    assert_same_steps(fused, plain, steps=60)


def test_a_function_of_the_learners_is_compiled_for_warp_alone(busy: Config) -> None:
    env = build(busy, compiler="warp")
    function = env.compiled(clean_rows, N)
    wide = torch.randn(N, 150)
    wide[3, 7], wide[5, 0] = torch.nan, torch.inf
    no = torch.zeros(N, dtype=torch.bool)
    arguments = torch.randn(N), no, ~no, wide, wide * 2
    assert_close(function(*arguments), clean_rows(*arguments), rtol=0.0, atol=0.0)
    assert isinstance(function, Fused) and function.compiled
    assert build(busy).compiled(clean_rows, N) is clean_rows


def test_on_request_everything_runs_in_torch(busy: Config) -> None:
    busy.sim.engine, busy.sim.compile_task = "simd", False
    env = make_locomotion_env(busy, N, seed=3)
    env.simulator.task_compiler = "warp"  # type: ignore[attr-defined]
    assert not env.kernels and not env._make_kernels()
    assert env.compiled(clean_rows, N) is clean_rows


def test_both_compilers_give_the_same_bits(busy: Config) -> None:
    lanes, warp = build(busy), build(busy, compiler="warp")
    warp.kernels = {name: warp.kernels[name] for name in lanes.kernels}
    lanes.reset(), warp.reset()
    assert_same_results(rollout(warp, range(300)), rollout(lanes, range(300)))
    for name, value in flat(lanes.state_dict()).items():
        assert torch.equal(flat(warp.state_dict())[name], value), name


def test_a_loaded_state_continues_bit_for_bit(busy: Config) -> None:
    scandots_late(busy)
    env, other = build(busy), build(busy)
    env.reset()
    rollout(env, range(15))
    state = env.state_dict()
    expected = rollout(env, range(15, 45))
    other.load_state_dict(state)
    assert_same_results(rollout(other, range(15, 45)), expected)


def test_results_do_not_change_with_later_steps(busy: Config) -> None:
    env = build(busy)
    env.reset()
    (result,) = rollout(env, range(1))
    kept = {name: group.clone() for name, group in result.obs.items()}
    reward = result.reward.clone()
    rollout(env, range(1, 30))
    assert torch.equal(result.reward, reward)
    for name, group in result.obs.items():
        assert torch.equal(group, kept[name]), name


def test_robots_do_not_depend_on_a_neighbours_nan(busy: Config) -> None:
    busy.task.episode_length_s = 20.0
    env, other = build(busy), build(busy)
    env.reset(), other.reset()
    rollout(env, range(3)), rollout(other, range(3))
    bad = actions(env, 3)
    bad[5, 2] = torch.nan
    a, b = env.step(bad), other.step(actions(other, 3))
    others = torch.arange(N) != 5
    assert a.terminated[5]
    assert a.reward.isfinite().all()
    assert torch.equal(a.reward[others], b.reward[others])
    for name, group in a.final_obs.items():  # type: ignore[union-attr]
        assert group.isfinite().all()
        assert torch.equal(group[others], b.final_obs[name][others]), name  # type: ignore[index]


def test_the_progress_of_the_training_is_not_compiled_in(busy: Config) -> None:
    busy.task.commands.initial_scale, busy.task.commands.heading = 0.1, False
    busy.task.commands.standing_fraction, busy.task.commands.min_speed = 0.0, 0.0
    env = build(busy)
    speeds = []
    for progress in (0.0, 1.0):
        env.set_progress(progress)
        env.reset()
        speeds.append(env.commands.command[:, 0].abs().max())
    assert env.kernels["_restart"].compiled == 1
    assert speeds[1] > 3 * speeds[0]


def test_robots_become_stuck_in_the_step_that_was_compiled_before(busy: Config) -> None:
    busy.task.stuck_after_s, busy.task.stuck_from = 2.0, 0.5
    busy.task.episode_length_s = 20.0
    env = build(busy)
    env.reset()
    env.commands.fix([0.6, 0.0, 0.0])
    ended = []
    for progress in (0.4, 0.6):
        env.set_progress(progress)
        env.pace.average.fill_(-1.0)
        ended.append(env.step(torch.zeros(N, env.num_actions)).terminated.clone())
    assert env.kernels["_judge"].compiled == 1
    assert not ended[0].all() and ended[1].all()


def test_a_change_of_the_recipes_numbers_counts_from_the_next_step_on(busy: Config) -> None:
    """A callback may schedule them."""
    env = build(busy)
    env.reset()
    rollout(env, range(2))
    config = env.config.task
    for sigma in (0.05, 5.0):
        config.rewards.tracking_sigma = sigma
        config.max_tilt = 0.01 * sigma
        plain = build(busy, fused=False)
        plain.load_state_dict(env.state_dict())
        a, b = (each.step(actions(each, 2)) for each in (env, plain))
        assert torch.equal(a.terminated, b.terminated)
        assert_close(a.reward, b.reward, rtol=2e-4, atol=2e-4)


def test_a_change_of_the_curriculums_numbers_counts_too(busy: Config, as_on_gpu: None) -> None:
    env = build(busy, compiler="warp")
    busy.terrain.curriculum.rule = "progress"
    everyone = torch.ones(N, dtype=torch.bool)
    levels = []
    for distance in (0.0, 1e9):
        busy.terrain.curriculum.distance = distance
        env.terrain_level.zero_()
        env.statistics.totals.fill_(1.0)
        env._move(everyone, ~everyone)
        levels.append(env.terrain_level.clone())
    assert env.kernels["_move"].compiled == 2
    assert levels[0].any() and not levels[1].any()


def test_a_change_of_a_sensors_numbers_counts_too(busy: Config) -> None:
    busy.task.episode_length_s = 20.0
    env = build(busy)
    env.reset()
    rollout(env, range(2))
    busy.task.observations.scandots.period_s = [10.0, 10.0]
    env.reset()
    before = env.scandots.reading.clone()
    rollout(env, range(2))
    assert torch.equal(env.scandots.reading, before), "no update for 10 s"


def test_commands_that_were_fixed_at_first_are_sampled_again(busy: Config) -> None:
    env = build(busy)
    env.commands.fix([0.4, 0.1, 0.2])
    env.reset()
    rollout(env, range(3))
    env.commands.fix(None)
    env.reset()
    assert env.kernels["_restart"].compiled == 2
    assert env.commands.command[:, 0].std() > 0.0


def test_fixed_and_planned_commands_are_followed(busy: Config) -> None:
    env = build(busy)
    env.reset()
    rollout(env, range(3))
    env.commands.fix([0.4, 0.1, 0.2])
    results = rollout(env, range(3, 40))
    assert torch.stack([r.truncated for r in results]).any()
    for result in results:
        assert_close(result.obs["commands"][:, :3], torch.tensor([[0.4, 0.1, 0.2]]).expand(N, 3))
    env.commands.fix(None)
    env.commands.plan(2)
    env.reset()
    first = env.commands.command[:, :2].clone()
    env.reset()
    env.reset()
    assert torch.equal(env.commands.command[:, :2], first), "the plan repeats after two"


def test_a_robot_on_another_tile_reads_the_ground_there(busy: Config) -> None:
    env, plain = build(busy), build(busy, fused=False)
    for each in (env, plain):
        each.reset()
        rollout(each, range(2))
        each.place(1, 1)
        each.reset()
        rollout(each, range(1))
    assert_close(env.survey.clearance, plain.survey.clearance)
    assert env.survey.clearance.std(dim=1).max() > 0.001, "the ground is rough"


MODULE = """
    import torch
    from legged_ppo.env.extension_groups import ObservationGroup
    from legged_ppo.env.locomotion import LocomotionEnv

    calls = []

    def counted(x):
        calls.append(1)
        return x.command[:, 0] * 0 + len(calls)

    class Mine(LocomotionEnv):
        pass

    REWARDS = {"counted": counted}
    OBSERVATIONS = {"fast": ObservationGroup(lambda x: x.command * 2, 3)}
    COMMANDS = {"left": lambda unit, config: torch.ones_like(unit[:, :3])}
    ENVIRONMENTS = {"mine": Mine}
"""


@pytest.fixture
def extension(write_module: Callable[[str, str], Path]) -> str:
    write_module("kernel_terms", MODULE)
    return "kernel_terms"


def test_terms_of_extensions_are_called_at_every_step(busy: Config, extension: str) -> None:
    busy.extensions = [extension]
    busy.task.rewards.extra = {"counted": 1.0}
    busy.task.observations.groups = ["fast"]
    busy.task.commands.sampler = "left"
    env, plain = build(busy), build(busy, fused=False)
    env.reset(), plain.reset()
    column = env.episode_metrics.index("Episode/rew_counted")
    values = []
    for step in range(3):
        result, expected = (e.step(actions(e, step)) for e in (env, plain))
        values.append(env.statistics.totals[0, column].item())
        assert_close(result.obs["fast"], result.obs["commands"][:, :3] * 2)
        assert_close(result.obs, expected.obs, rtol=1e-3, atol=1e-3)
    assert set(env.kernels).isdisjoint({"_judge", "_restart"})
    assert values[2] - values[1] > values[1] - values[0] > 0, "calls are counted"


def test_subclasses_and_the_reference_engine_run_in_torch(busy: Config, extension: str) -> None:
    busy.extensions, busy.environment, busy.sim.engine = [extension], "mine", "simd"
    assert not make_locomotion_env(busy, 2, seed=0).kernels
    busy.environment, busy.sim.engine = "", "mujoco_c"
    assert not make_locomotion_env(busy, 2, seed=0).kernels
