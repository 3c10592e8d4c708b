"""What the engine's kernels read of a robot is what `ModelIndex.state` reads of the same arrays."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import warp as wp

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.indexing import ModelIndex
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simulator import SimState
from legged_ppo.sim.warp.readings import Readings
from legged_ppo.terrain.grid import build_terrain

N = 6
CPU = torch.device("cpu")
MAX_VELOCITY = 50.0


@dataclass
class Arrays:
    """Torch tensors in place of the engine's data."""

    qpos: torch.Tensor
    qvel: torch.Tensor
    sensordata: torch.Tensor
    qfrc_actuator: torch.Tensor

    def of_warp(self) -> Arrays:
        return Arrays(**{name: wp.from_torch(value) for name, value in vars(self).items()})


@pytest.fixture(scope="module")
def layout() -> ModelIndex:
    wp.init()
    config = load_config(CONFIG_DIR / "phase1_fast.yaml", ["terrain=flat"])
    robot = load_robot(config.robot)
    return ModelIndex(
        build_model(robot, build_terrain(config.terrain).add_to, config.sim), robot, CPU
    )


def arrays(layout: ModelIndex, seed: int) -> Arrays:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    sensors = 1 + max(
        int(getattr(layout, f"{name}_columns").max())
        for name in ("foot", "penalized", "termination")
    )
    qpos = randn(N, len(layout.rest_qpos))
    qpos[:, 3:7] = torch.nn.functional.normalize(qpos[:, 3:7], dim=1)
    return Arrays(qpos, randn(N, len(layout.rest_qvel)), randn(N, sensors), randn(N, 18))


def expected(layout: ModelIndex, data: Arrays) -> SimState:
    sound = data.qpos.isfinite().all(1) & (data.qvel.abs() < MAX_VELOCITY).all(1)
    rows = (data.qpos, data.qvel, data.sensordata, data.qfrc_actuator)
    return layout.state(*rows, ~sound)


def test_readings_are_the_state_and_failed_robots_rest(layout: ModelIndex) -> None:
    data = arrays(layout, 0)
    data.qpos[1, 9] = torch.nan
    data.qvel[2, 3] = torch.inf
    data.qvel[3, 0] = -2 * MAX_VELOCITY
    readings = Readings(layout, N, MAX_VELOCITY, CPU)
    readings.launch(data.of_warp(), torch.ones(N, dtype=torch.bool))
    found, state = readings.state(), expected(layout, data)
    assert found.failed.tolist() == [False, True, True, True, False, False]
    for name, value in vars(state).items():
        torch.testing.assert_close(getattr(found, name), value, rtol=0, atol=1e-6, msg=name)


def test_a_reading_concerns_the_masked_robots_and_copies_stay(layout: ModelIndex) -> None:
    readings, everyone = Readings(layout, N, MAX_VELOCITY, CPU), torch.ones(N, dtype=torch.bool)
    first, second = arrays(layout, 1), arrays(layout, 2)
    readings.launch(first.of_warp(), everyone)
    before = readings.state()
    kept = {name: value.clone() for name, value in vars(before).items()}
    mask = torch.arange(N) % 2 == 0
    readings.launch(second.of_warp(), mask)
    after, new = readings.state(), expected(layout, second)
    for name, value in vars(after).items():
        assert torch.equal(getattr(before, name), kept[name]), name
        assert torch.equal(value[~mask], kept[name][~mask]), name
        torch.testing.assert_close(value[mask], getattr(new, name)[mask], rtol=0, atol=1e-6)
    readings.translate(torch.tensor([1.0, -2.0]).repeat(N, 1))
    moved = readings.state()
    shift = torch.tensor([1.0, -2.0, 0.0])
    torch.testing.assert_close(moved.base_pos, after.base_pos + shift)
    torch.testing.assert_close(moved.foot_pos, after.foot_pos + shift)
