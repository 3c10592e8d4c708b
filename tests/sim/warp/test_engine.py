"""MuJoCo Warp, on the CPU, against MuJoCo C. Its kernels compile once, in about a minute."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mujoco
import mujoco_warp as mjw
import pytest
import torch
import warp as wp
import yaml

from legged_ppo.cli.train import main
from legged_ppo.config.loading import CONFIG_DIR
from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.model import build_model
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.sim.simulator import PhysicalParameters, SimState, Simulator
from legged_ppo.sim.warp import planning
from legged_ppo.sim.warp.engine import MujocoWarp
from legged_ppo.sim.warp.memory import Capacity, predicted_bytes, scratch_bytes
from legged_ppo.sim.warp.planning import plan_capacity, sample_tiles, scatter
from legged_ppo.sim.warp.world_ground import WorldGround
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.terrain.types import make_tile_types

SIZES = Capacity(contacts=48, constraints=160, convex_pairs=48)
CPU = torch.device("cpu")
LEVELS = 3
TILES = LEVELS * len(make_tile_types(TerrainConfig()))
SETTLING = 120
"""Substeps from being dropped to standing or lying."""


@pytest.fixture(scope="module")
def robot(robot_config: Callable[[str], RobotConfig]) -> RobotSpec:
    return load_robot(robot_config("go2"))


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    """Every type of tile."""
    config = TerrainConfig(num_levels=LEVELS, fractal_height=[0.02, 0.04])
    config.proportions = dict.fromkeys(make_tile_types(config), 1.0)
    return build_terrain(config)


@pytest.fixture(scope="module")
def slots(terrain: Terrain) -> WorldGround:
    return WorldGround(terrain)


@pytest.fixture(scope="module")
def model(robot: RobotSpec, slots: WorldGround) -> mujoco.MjModel:
    return build_model(robot, slots.add_to, SimConfig(decimation=1))


@pytest.fixture(scope="module")
def settled(robot: RobotSpec, terrain: Terrain) -> tuple[torch.Tensor, torch.Tensor]:
    """Engine rows (qpos, qvel) of two robots on every tile in turn, resting on it any way they fell."""
    count = 2 * LEVELS * len(terrain.types)
    simulator = MujocoC(robot, terrain, SimConfig(decimation=1), count)
    tiles = torch.arange(count) % TILES
    scatter(simulator, robot, terrain, tiles, torch.Generator().manual_seed(3))
    for _ in range(SETTLING):
        simulator.step(standing(robot, count))
    state = simulator.state
    qpos = torch.cat([state.base_pos, state.base_quat, state.joint_pos], dim=1)
    qvel = simulator._gather("qvel")
    return qpos, torch.cat([qvel[:, :6], state.joint_vel], dim=1)


@pytest.fixture(scope="module")
def warp(robot: RobotSpec, model: mujoco.MjModel, slots: WorldGround) -> Callable[..., MujocoWarp]:
    return lambda count, sizes=SIZES, **sim: MujocoWarp(
        model, slots, robot, SimConfig(**{"decimation": 1, **sim}), count, CPU, sizes
    )


def standing(robot: RobotSpec, count: int) -> torch.Tensor:
    return torch.as_tensor(robot.default_joint_pos, dtype=torch.float32).repeat(count, 1)


def wiggle(robot: RobotSpec, count: int, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    return standing(robot, count) + 0.1 * torch.randn(count, 12, generator=generator)


def start(simulator: Simulator, rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Put the robots where those of `settled` rest."""
    everyone = torch.ones(simulator.num_envs, dtype=torch.bool)
    simulator.assign(torch.arange(simulator.num_envs) % TILES)
    simulator.reset(everyone, *(x[: simulator.num_envs] for x in rows))


def distance(a: SimState, b: SimState) -> torch.Tensor:
    """[N] m between the bases."""
    return (a.base_pos - b.base_pos).norm(dim=1)


@pytest.mark.parametrize(("integrator", "rounds"), [("implicitfast", 2), ("euler", 1)])
def test_both_engines_agree_on_every_terrain_type(
    robot: RobotSpec,
    terrain: Terrain,
    slots: WorldGround,
    settled: tuple[torch.Tensor, torch.Tensor],
    integrator: str,
    rounds: int,
) -> None:
    count, sim = rounds * TILES, SimConfig(decimation=1, integrator=integrator)
    model = build_model(robot, slots.add_to, sim)
    pair: list[Any] = [
        MujocoC(robot, terrain, sim, count),
        MujocoWarp(model, slots, robot, sim, count, CPU, SIZES),
    ]
    for simulator in pair:
        start(simulator, settled)
    c, w = pair
    for step in range(20):
        for simulator in pair:
            simulator.step(wiggle(robot, count, step))
        if step == 0:
            assert distance(c.state, w.state).max() < 1e-5
            force = (c.state.foot_force - w.state.foot_force).abs().amax(1)
            assert force.median() < 2e-3 and force.max() < 5.0  # of some 40 N
            assert torch.equal(c.state.penalized_contact, w.state.penalized_contact)
    apart = distance(c.state, w.state)
    assert apart.median() < 2e-5 and apart.max() < 5e-3
    assert w.metrics()["Sim/overflows"] == 0


def test_sensors_of_the_last_substep_alone_are_those_of_all_substeps(
    robot: RobotSpec, warp: Callable[..., MujocoWarp], settled: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """To the last bit: a control step of three substeps beside three of one, which evaluate them in each."""
    whole, apart = warp(TILES, decimation=3), warp(TILES, decimation=1)
    for simulator in (whole, apart):
        start(simulator, settled)
    for step in range(3):
        whole.step(wiggle(robot, TILES, step))
        for _ in range(3):
            apart.step(wiggle(robot, TILES, step))
    assert (whole.state.foot_force > 0).any() and whole.state.penalized_contact.any()
    for name, value in vars(apart.state).items():
        assert torch.equal(getattr(whole.state, name), value), name
    assert torch.equal(whole._qpos, apart._qpos) and torch.equal(whole._qvel, apart._qvel)


def test_a_reset_touches_the_masked_robots_only(
    robot: RobotSpec, warp: Callable[..., MujocoWarp], settled: tuple[torch.Tensor, torch.Tensor]
) -> None:
    simulator = warp(4)
    start(simulator, settled)
    for step in range(3):
        simulator.step(wiggle(robot, 4, step))
    before = simulator.state_dict()["persistent"]
    old = simulator.state
    mask = torch.tensor([False, True, False, True])
    qpos, qvel = (x[10:14] for x in settled)
    simulator.reset(mask, qpos, qvel)
    after = simulator.state_dict()["persistent"]
    for name, value in before.items():
        assert torch.equal(after[name][~mask], value[~mask]), name
    assert torch.equal(after["qpos"][mask], simulator._layout.qpos_rows(qpos)[mask])
    assert not after["qacc_warmstart"][mask].any()
    for name, value in vars(simulator.state).items():
        assert torch.equal(value[~mask], getattr(old, name)[~mask]), name
    # Feet of the new pose, without a step.
    reach = (simulator.state.foot_pos - qpos[:, None, :3]).norm(dim=-1)[mask]
    assert (reach < 0.6).all() and (reach > 0.1).all()


def test_physical_parameters_and_latency_act_as_in_c(
    robot: RobotSpec,
    terrain: Terrain,
    warp: Callable[..., MujocoWarp],
    settled: tuple[torch.Tensor, torch.Tensor],
) -> None:
    n = 6
    scale = torch.linspace(0.8, 1.2, n)
    parameters = PhysicalParameters(
        friction=torch.linspace(0.3, 1.2, n),
        added_mass=torch.linspace(-1.0, 3.0, n),
        com_shift=0.03 * torch.linspace(-1.0, 1.0, n)[:, None].repeat(1, 3),
        kp_scale=scale,
        kd_scale=scale.flip(0),
        motor_strength=scale,
        armature_scale=torch.linspace(0.5, 3.0, n),
    )
    latency = torch.arange(n) % 3
    pair: list[Any] = [
        MujocoC(robot, terrain, SimConfig(decimation=2), n),
        warp(n, decimation=2),
        warp(n, decimation=2),
    ]
    for simulator in pair:
        start(simulator, settled)
    for simulator in pair[:2]:
        simulator.randomize(torch.arange(n) != 2, parameters)
    for step in range(5):
        for simulator in pair:
            simulator.push(torch.full((n, 2), 0.05))
            simulator.step(wiggle(robot, n, step), latency)
    c, w, nominal = pair
    assert distance(c.state, w.state).max() < 1e-4
    assert (c.state.joint_pos - w.state.joint_pos).abs().max() < 3e-3
    changed = (nominal.state.joint_pos - w.state.joint_pos).abs().amax(1) > 3e-3
    assert changed.tolist() == [True, True, False, True, True, True]


def parameters_of(count: int, **changes: torch.Tensor) -> PhysicalParameters:
    """The Go2's own, with some changed."""
    one = torch.ones(count)
    names = ("kp_scale", "kd_scale", "motor_strength", "armature_scale")
    values = dict.fromkeys(names, one) | {"friction": 0.8 * one, "added_mass": 0.0 * one}
    return PhysicalParameters(**values | {"com_shift": torch.zeros(count, 3)} | changes)


def inertia_diagonal(simulator: MujocoWarp) -> torch.Tensor:
    """[N, nv], of the last substep."""
    n, nv = simulator.num_envs, simulator.model.nv
    columns = []
    for dof in range(nv):
        unit = torch.zeros(n, nv)
        unit[:, dof] = 1.0
        product = wp.zeros((n, nv), device="cpu")
        mjw.mul_m(simulator._m, simulator._d, product, wp.from_torch(unit))
        columns.append(wp.to_torch(product)[:, dof])
    return torch.stack(columns, dim=1)


def test_an_armature_is_added_to_the_inertia_of_the_masked_robots_joints(
    robot: RobotSpec, warp: Callable[..., MujocoWarp], settled: tuple[torch.Tensor, torch.Tensor]
) -> None:
    changed, plain = warp(3), warp(3)
    mask = torch.tensor([False, True, True])
    changed.randomize(mask, parameters_of(3, armature_scale=torch.full((3,), 3.0)))
    for simulator in (changed, plain):
        start(simulator, settled)
        simulator.step(wiggle(robot, 3, 0))
    more = inertia_diagonal(changed) - inertia_diagonal(plain)
    armature = torch.as_tensor(plain.model.dof_armature, dtype=torch.float32)
    derived = [each._derived["dof_invweight0"] for each in (changed, plain)]
    assert torch.equal((derived[0] != derived[1]).any(1), mask)
    torch.testing.assert_close(more, 2.0 * armature * mask[:, None], atol=1e-6, rtol=1e-4)
    moved = changed.state.joint_vel != plain.state.joint_vel
    assert torch.equal(moved.all(1), mask) and torch.equal(moved.any(1), mask)


def test_a_robot_that_blows_up_is_alone(
    robot: RobotSpec, warp: Callable[..., MujocoWarp], settled: tuple[torch.Tensor, torch.Tensor]
) -> None:
    broken, sound = warp(3), warp(3)
    for simulator in (broken, sound):
        start(simulator, settled)
    broken._qpos[1] = torch.nan
    for simulator in (broken, sound):
        simulator.step(wiggle(robot, 3, 0))
    assert broken.state.failed.tolist() == [False, True, False]
    assert all(bool(torch.isfinite(value.float()).all()) for value in vars(broken.state).values())
    broken.reset(broken.state.failed, *(x[:3] for x in settled))
    for simulator in (broken, sound):
        simulator.step(wiggle(robot, 3, 1))
    assert not broken.state.failed.any()
    others = torch.tensor([0, 2])
    assert torch.equal(broken.state.base_pos[others], sound.state.base_pos[others])


def test_every_launch_is_on_the_engines_device(
    robot: RobotSpec,
    warp: Callable[..., MujocoWarp],
    settled: tuple[torch.Tensor, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine with a GPU, Warp's own choice for whatever names no device would be that."""
    simulator, entered, launched = warp(2), [], []

    class Scope:
        def __init__(self, device: wp.Device) -> None:
            self.device = device

        def __enter__(self) -> None:
            entered.append(self.device)

        def __exit__(self, *_: object) -> None:
            entered.pop()

    for name in ("step", "reset_data", "kinematics"):
        launch = getattr(mjw, name)

        def checked(*arrays: object, launch: Callable[..., None] = launch) -> None:
            launched.append(launch)
            assert entered == [wp.get_device("cpu")]
            launch(*arrays)

        monkeypatch.setattr(mjw, name, checked)
    monkeypatch.setattr(wp, "ScopedDevice", Scope)
    start(simulator, settled)
    simulator.step(standing(robot, 2))
    simulator.load_state_dict(simulator.state_dict())
    assert len(launched) >= 3


def test_an_engine_goes_when_it_is_let_go(warp: Callable[..., MujocoWarp]) -> None:
    """Its memory is the device's, which the next evaluation needs before Python looks for cycles."""
    simulator = warp(2)
    alive = [weakref.ref(simulator), weakref.ref(simulator._d)]
    gc.disable()
    try:
        del simulator
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


def test_warp_prints_nothing_of_its_own() -> None:
    program = (
        "import warp as wp\n"
        "import legged_ppo.sim.warp.engine\n"
        "from legged_ppo.sim.warp.kernels import gather_rows\n"
        "row = wp.zeros((1, 1), device='cpu')\n"
        "mask = wp.ones(1, dtype=bool, device='cpu')\n"
        "index = wp.zeros(1, dtype=int, device='cpu')\n"
        "wp.launch(gather_rows, (1, 1), [mask, index, row], [row], device='cpu')\n"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""


def test_contacts_that_do_not_fit_are_counted(
    robot: RobotSpec, warp: Callable[..., MujocoWarp], settled: tuple[torch.Tensor, torch.Tensor]
) -> None:
    simulator = warp(6, Capacity(contacts=48, constraints=4, convex_pairs=48))
    start(simulator, settled)
    simulator.step(standing(robot, 6))
    start(simulator, settled)  # what sank is often reset before it is counted
    assert simulator.metrics()["Sim/overflows"] == 6
    assert simulator.metrics()["Sim/overflows"] == 0


@pytest.fixture(scope="module")
def plan(robot: RobotSpec, terrain: Terrain, warp: Callable[..., MujocoWarp]) -> Capacity:
    return plan_capacity(warp, robot, terrain, CPU)


def test_a_measured_capacity_fits_wherever_the_robots_are(
    robot: RobotSpec, terrain: Terrain, warp: Callable[..., MujocoWarp], plan: Capacity
) -> None:
    """Also when a curriculum has brought all of them to the top of the type that asks for most."""
    assert 16 <= plan.contacts < SIZES.contacts and 32 <= plan.constraints <= SIZES.constraints
    assert plan.convex_pairs == 1  # the least that the key takes: spheres and capsules need none
    simulator = warp(20, plan)
    generator = torch.Generator().manual_seed(5)
    most = {}
    for column, name in enumerate(terrain.types):
        tiles = torch.full((20,), column * LEVELS + LEVELS - 1)
        scatter(simulator, robot, terrain, tiles, generator)
        for step in range(60):
            simulator.step(wiggle(robot, 20, step))
        most[name] = float(simulator.usage()[0].max())
        assert simulator.metrics()["Sim/overflows"] == 0, name
    assert most["stepping_stones"] > 2 * most["gaps"], "or the test tests nothing"


def test_usage_is_counted_by_robot(
    robot: RobotSpec, terrain: Terrain, warp: Callable[..., MujocoWarp]
) -> None:
    simulator = warp(3)
    tiles = torch.tensor([terrain.types.index(name) * LEVELS for name in ("flat", "rough", "flat")])
    scatter(simulator, robot, terrain, tiles, torch.Generator().manual_seed(0))
    simulator._qpos[2, 2] += 5.0
    for _ in range(60):
        simulator.step(standing(robot, 3))
    pairs, rows = simulator.usage().tolist()
    flat, rough, in_the_air = pairs
    assert min(flat, rough) >= 4 and in_the_air == 0
    assert min(rows[:2]) >= 4 and rows[2] == 0


def test_the_predicted_memory_is_what_the_arrays_take(
    robot: RobotSpec, warp: Callable[..., MujocoWarp], plan: Capacity
) -> None:
    for capacity in (plan, Capacity(contacts=8, constraints=60, convex_pairs=1)):
        simulator = warp(12, capacity)
        predicted = predicted_bytes(simulator.model, capacity, 12)
        assert predicted == pytest.approx(simulator._bytes(), rel=1e-3)
        reports: list[str] = []
        with wp.ScopedMemoryTracker(report_func=reports.append) as tracker:
            tracker.clear()
            simulator.step(standing(robot, 12))
        size, unit = re.findall(r"Peak usage:\s+cpu\s+([\d.]+) (\w+)", reports[0])[0]
        peak = float(size) * {"KB": 2**10, "MB": 2**20}[unit]
        assert scratch_bytes(simulator.model, capacity, 12) == pytest.approx(peak, rel=0.1)
    # As the documentation of the recipe promises for 4096 robots, with room for the learner.
    assert predicted_bytes(simulator.model, plan, 4096) < 2 * 2**30


def test_a_ground_is_measured_once(
    robot: RobotSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An evaluation, whose shares of the terrain types are others, has the sizes of the training."""
    config = TerrainConfig(proportions={"flat": 0.3, "rough": 0.7}, num_levels=2)
    sim = SimConfig(decimation=1)
    caplog.set_level("INFO")
    first = planning.make_planned(robot, build_terrain(config), sim, 2, CPU)
    (record,) = caplog.records
    measured = asdict(first.capacity)
    assert all(f"sim.{name}={size}" in record.message for name, size in measured.items())
    assert "2 robots" in record.message and min(measured.values()) > 0
    caplog.clear()
    monkeypatch.setattr(planning, "plan_capacity", None)
    config.proportions = {"flat": 1.0, "rough": 1.0}
    again = planning.make_planned(robot, build_terrain(config), sim, 3, CPU)
    assert again.capacity == first.capacity and again.num_envs == 3
    assert not caplog.records
    config.roughness = [0.08, 0.1]
    with pytest.raises(TypeError):
        planning.make_planned(robot, build_terrain(config), sim, 2, CPU)


def test_robots_of_a_plan_stand_on_every_type_and_its_top_levels() -> None:
    few, many = (sample_tiles(types=3, levels=10, each=each).view(-1, 3) for each in (4, 25))
    assert few.tolist() == [[level, 10 + level, 20 + level] for level in (9, 7, 5, 3)]
    assert sorted(many[:10].flatten().tolist()) == list(range(30))


def test_a_saved_state_goes_on_bit_for_bit(
    robot: RobotSpec, warp: Callable[..., MujocoWarp], settled: tuple[torch.Tensor, torch.Tensor]
) -> None:
    first, second = warp(4), warp(4)
    heavy = parameters_of(4, added_mass=torch.ones(4), armature_scale=torch.full((4,), 2.0))
    first.randomize(torch.arange(4) < 2, heavy)
    start(first, settled)
    first.step(wiggle(robot, 4, 0))
    second.assign(torch.arange(4))  # as the environment does before it
    second.load_state_dict(first.state_dict())
    for simulator in (first, second):
        simulator.step(wiggle(robot, 4, 1))
    assert torch.equal(first.state.base_pos, second.state.base_pos)
    assert torch.equal(first.state.joint_vel, second.state.joint_vel)


def test_a_run_trains_on_this_engine_and_resumes(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = yaml.safe_load((CONFIG_DIR / "phase1_fast.yaml").read_text())
    text["defaults"][2] = {"terrain": "mild"}
    recipe.write_text(yaml.safe_dump(text))
    sizes = [f"sim.{name}={value}" for name, value in asdict(SIZES).items()]
    overrides = [
        "+preset=debug",
        "sim.engine=mujoco_warp",
        *sizes,
        "terrain.num_levels=1",
        "training.num_envs=4",
        "task.episode_length_s=0.2",
        "training.evaluation_episodes=2",
        f"training.log_dir={tmp_path}",
        "training.run_name=run",
    ]
    command = ["--config", str(recipe), "--device", "cpu"]
    assert main([*command, *overrides, "training.total_timesteps=64"]) == 0
    latest = str(tmp_path / "run" / "checkpoints" / "phase1_latest.pth")
    again = [*command, "--resume", latest, *overrides]
    assert main([*again, "training.total_timesteps=128"]) == 0
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 2 and '"Sim/overflows": 0' in rows[1]
    planned = json.loads(rows[1])
    assert planned["Sim/planned_contacts"] == SIZES.contacts
    assert 0 < planned["Sim/planned_memory_gb"] < 0.1
    assert main([*again, "sim.engine=mujoco_c", "training.total_timesteps=192"]) == 2
