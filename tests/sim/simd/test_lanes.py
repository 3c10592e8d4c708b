"""The compiled physics: close to MuJoCo C in float32 at every width, and each robot alone in its lane."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from motions import MOTIONS, moment, stepped
from odd_robot import odd_robot
from simulators import nominal, pose, rows, targets, walk

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.runtime.lanes.target import Target, host
from legged_ppo.sim.model import build_model
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.sim.simd import engine
from legged_ppo.sim.simd.engine import Simd
from legged_ppo.terrain.grid import Terrain, build_terrain


@pytest.fixture(scope="module")
def go2(robot_config: Callable[[str], RobotConfig]) -> RobotSpec:
    return load_robot(robot_config("go2"))


@pytest.fixture(scope="module")
def plane() -> Terrain:
    return build_terrain(TerrainConfig())


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize(
    ("width", "integrator"), [(16, "euler"), (16, "implicitfast"), (8, "euler"), (4, "euler")]
)
def test_velocities_are_mujocos_to_float32(
    go2: RobotSpec, plane: Terrain, motion: str, width: int, integrator: str
) -> None:
    count = 64
    config = SimConfig(decimation=1, integrator=integrator, simd_width=width, tolerance=1e-10)
    model = build_model(go2, partial(plane.add_to, column=0), config)
    start = moment(model, go2.default_joint_pos, motion, np.tile([0.0, 0.0, 0.33], (count, 1)))
    simulator = Simd(go2, plane, config, count)
    everyone = torch.ones(count, dtype=torch.bool)
    simulator.reset(everyone, torch.tensor(start.qpos).float(), torch.tensor(start.qvel).float())
    simulator.step(torch.tensor(start.targets).float())
    qpos, qvel = stepped(model, start, 1)
    ours = simulator._groups.read("qvel").numpy()
    apart = np.abs(ours - qvel).max(1)
    assert np.median(apart) < 1e-5 and apart.max() < 1e-3
    np.testing.assert_allclose(simulator.state.base_pos, qpos[:, :3], atol=1e-6)


@pytest.mark.parametrize("field", ["qpos", "qvel", "warmstart", "target", "mass", "kp", "friction"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_goes_wrong_in_a_lane_stays_there(
    go2: RobotSpec, plane: Terrain, field: str, value: float
) -> None:
    simulator, reference = (Simd(go2, plane, SimConfig(threads=1), 16) for _ in range(2))
    for each in (simulator, reference):
        walk(each, range(5))
    values = simulator._groups.read(field)
    values[5, -1] = value
    simulator._groups.write(field, values)
    for each in (simulator, reference):
        if field == "target":
            each.step(each._groups.read("target").index_select(1, each._columns))
        walk(each, range(5, 8))
    others = torch.arange(16) != 5
    np.testing.assert_array_equal(rows(simulator)[others], rows(reference)[others])
    assert all(v.isfinite().all() for v in vars(simulator.state).values())


def test_a_robots_steps_do_not_depend_on_threads_neighbours_or_width_of_the_group(
    go2: RobotSpec, plane: Terrain
) -> None:
    one, three, few = (
        Simd(go2, plane, SimConfig(threads=t), n) for t, n in ((1, 70), (3, 70), (1, 5))
    )
    for each in (one, three):
        each.randomize(torch.arange(70) % 2 == 0, nominal(70, added_mass=1.0, friction=0.4))
        for step in range(25):
            each.step(targets(each, step))
    np.testing.assert_array_equal(rows(one), rows(three))
    few.load_state_dict({"rows": one.state_dict()["rows"][33:38]})
    for step in range(25, 30):
        goals = targets(one, step)
        one.step(goals)
        few.step(goals[33:38])
    np.testing.assert_array_equal(rows(one)[33:38], rows(few))


def test_a_reset_measures_without_a_step(go2: RobotSpec, plane: Terrain) -> None:
    simulator = Simd(go2, plane, SimConfig(threads=1), 3)
    qpos, qvel = pose(simulator, (1.0, 2.0, 0.27))
    simulator.reset(torch.tensor([False, True, False]), qpos, qvel)
    touching = simulator.state.foot_force.gt(0).any(1)
    assert touching.tolist() == [False, True, False]
    torch.testing.assert_close(simulator.state.base_pos[1], qpos[1, :3])


def test_parameters_of_each_robot_are_mujocos(go2: RobotSpec, plane: Terrain) -> None:
    config, count = SimConfig(threads=1, tolerance=1e-10), 16
    ours, theirs = Simd(go2, plane, config, count), MujocoC(go2, plane, config, count)
    generator = torch.Generator().manual_seed(0)
    parameters = nominal(count)
    given = {name: value for name, value in vars(parameters).items() if value is not None}
    for name, value in given.items():
        noise = torch.rand(value.shape, generator=generator)
        spread = {"com_shift": 0.1 * noise, "added_mass": 3.0 * noise}.get(name, value * noise)
        setattr(parameters, name, value + spread)
    start = moment(
        theirs.groups[0].model, go2.default_joint_pos, "walk", np.tile([0.0, 0.0, 0.33], (count, 1))
    )
    for each in (ours, theirs):
        each.randomize(torch.ones(count, dtype=torch.bool), parameters)
        each.reset(
            torch.ones(count, dtype=torch.bool),
            torch.tensor(start.qpos).float(),
            torch.tensor(start.qvel).float(),
        )
        each.step(torch.tensor(start.targets).float())
    assert (ours.state.foot_force > 0).any(1).all()
    for name, value in vars(ours.state).items():
        torch.testing.assert_close(value, getattr(theirs.state, name), atol=2e-3, rtol=1e-3)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 CPUs")
@pytest.mark.parametrize(("cpu", "lanes"), [("x86-64", 4), ("x86-64-v3", 8)])
def test_older_cpus_get_narrower_code_that_is_right_too(
    go2: RobotSpec, plane: Terrain, monkeypatch: pytest.MonkeyPatch, cpu: str, lanes: int
) -> None:
    wide = walk(Simd(go2, plane, SimConfig(threads=1), 4), range(10))
    features = "+avx,+avx2,+fma" if lanes == 8 else ""
    monkeypatch.setattr(engine, "host", lambda: Target(cpu, features, host().triple))
    narrow = walk(Simd(go2, plane, SimConfig(threads=1), 4), range(10))
    assert narrow._groups.lanes == lanes
    torch.testing.assert_close(narrow.state.base_pos, wide.state.base_pos, atol=1e-3, rtol=0)


def test_an_odd_robot_moves_as_in_mujoco(
    robot_config: Callable[[str], RobotConfig], plane: Terrain, tmp_path: Path
) -> None:
    robot, config = odd_robot(robot_config("go2"), tmp_path), SimConfig(threads=1)
    ours, theirs = (kind(robot, plane, config, 5) for kind in (Simd, MujocoC))
    qpos = torch.tensor([0.0, 0.0, 0.45, 1.0, 0.0, 0.0, 0.0, *robot.default_joint_pos]).float()
    qpos = qpos.repeat(5, 1) + 0.05 * torch.arange(5)[:, None] * torch.eye(11)[7 + 3]
    for each in (ours, theirs):
        each.reset(torch.ones(5, dtype=torch.bool), qpos, torch.zeros(5, 10))
        for step in range(12):
            each.step(qpos[:, 7:] + 0.1 * torch.tensor([1.0, -1.0, 0.5, 0.2]) * (step % 3))
    assert (ours.state.foot_force > 0).any()
    for name, value in vars(ours.state).items():
        torch.testing.assert_close(value, getattr(theirs.state, name), atol=1e-2, rtol=1e-3)


def test_targets_of_any_type_and_layout_are_read_alike(go2: RobotSpec, plane: Terrain) -> None:
    plain, double, strided = (Simd(go2, plane, SimConfig(threads=1), 21) for _ in range(3))
    for step in range(5):
        goals = targets(plain, step)
        plain.step(goals)
        double.step(goals.double())
        strided.step(torch.cat([goals, goals], dim=1)[:, :12])
    np.testing.assert_array_equal(rows(plain), rows(double))
    np.testing.assert_array_equal(rows(plain), rows(strided))
    with pytest.raises(ValueError, match=r"\(20, 12\), not \[N, J\] = \(21, 12\)"):
        plain.step(goals[:20])


def test_a_reset_leaves_the_layout_of_the_state(go2: RobotSpec, plane: Terrain) -> None:
    simulator = walk(Simd(go2, plane, SimConfig(threads=1), 5), range(2))
    stepped_state = simulator.state
    simulator.reset(torch.tensor([False, True, False, False, True]), *pose(simulator))
    for name, value in vars(simulator.state).items():
        before = getattr(stepped_state, name)
        assert (value.dtype, value.shape, value.stride()) == (
            before.dtype,
            before.shape,
            before.stride(),
        )
        assert torch.equal(value[[0, 2, 3]], before[[0, 2, 3]])


def test_a_failed_robot_reads_as_the_default_pose_at_rest(go2: RobotSpec, plane: Terrain) -> None:
    simulator = walk(Simd(go2, plane, SimConfig(threads=1), 4), range(2))
    qvel = simulator._groups.read("qvel")
    qvel[2, 0] = np.nan
    simulator._groups.write("qvel", qvel)
    walk(simulator, range(2, 3))
    state = simulator.state
    assert state.failed.tolist() == [False, False, True, False]
    height = go2.config.spawn_height
    torch.testing.assert_close(state.base_pos[2], torch.tensor([0.0, 0.0, height]))
    assert torch.equal(state.base_quat[2], torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert torch.equal(state.base_rotation[2], torch.eye(3))
    torch.testing.assert_close(state.joint_pos[2], torch.tensor(go2.default_joint_pos).float())
    others = set(vars(state)) - {"base_pos", "base_quat", "base_rotation", "joint_pos", "failed"}
    assert all(getattr(state, name)[2].eq(0).all() for name in others)
