"""Robots that get a kept body are as robots whose constants are computed for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simulator import KeepsBodies, PhysicalParameters
from legged_ppo.sim.warp.engine import MujocoWarp
from legged_ppo.sim.warp.memory import Capacity
from legged_ppo.sim.warp.world_ground import WorldGround
from legged_ppo.terrain.grid import build_terrain

N, BODIES = 6, 4
SIZES = Capacity(contacts=48, constraints=160, convex_pairs=1)
MASK = torch.tensor([True, True, False, True, True, False])
BODY = torch.tensor([3, 0, 1, 3, 2, 2])


@pytest.fixture(scope="module")
def build() -> Callable[[], MujocoWarp]:
    config = load_config(CONFIG_DIR / "phase1_fast.yaml", ["terrain=flat", "sim.decimation=1"])
    robot, slots = load_robot(config.robot), WorldGround(build_terrain(config.terrain))
    model = build_model(robot, slots.add_to, config.sim)
    device = torch.device("cpu")
    return lambda: MujocoWarp(model, slots, robot, config.sim, N, device, SIZES)


def bodies() -> PhysicalParameters:
    one = torch.ones(BODIES)
    return PhysicalParameters(
        **dict.fromkeys(("friction", "kp_scale", "kd_scale", "motor_strength"), one),
        added_mass=torch.linspace(-1.0, 3.0, BODIES),
        com_shift=torch.linspace(-0.05, 0.05, BODIES)[:, None] * torch.tensor([1.0, -0.5, 0.2]),
        armature_scale=torch.linspace(0.5, 3.0, BODIES),
    )


def parameters(body: torch.Tensor | None) -> PhysicalParameters:
    """Of N robots, with the bodies `BODY`."""
    kept = bodies()
    return PhysicalParameters(
        friction=torch.linspace(0.3, 1.2, N),
        kp_scale=torch.linspace(0.8, 1.2, N),
        kd_scale=torch.linspace(1.2, 0.8, N),
        motor_strength=torch.linspace(0.9, 1.1, N),
        added_mass=kept.added_mass[BODY],
        com_shift=kept.com_shift[BODY],
        armature_scale=kept.armature_scale[BODY],
        body=body,
    )


def reset(simulator: MujocoWarp, given: PhysicalParameters | None) -> None:
    qpos = torch.zeros(N, 19)
    qpos[:, 2], qpos[:, 3] = 0.32, 1.0
    qpos[:, 7:] = simulator._default_ctrl
    simulator.reset(MASK, qpos, torch.zeros(N, 18), given)


def arrays(simulator: MujocoWarp) -> dict[str, torch.Tensor]:
    state = simulator.state_dict()
    return {**state["fields"], **state["derived"]}


def test_a_reset_with_a_kept_body_is_one_with_its_parameters(
    build: Callable[[], MujocoWarp],
) -> None:
    kept, computed = build(), build()
    assert isinstance(kept, KeepsBodies) and kept.num_bodies > 1000
    before = arrays(kept)
    kept.keep_bodies(bodies())
    assert all(torch.equal(value, before[name]) for name, value in arrays(kept).items())
    reset(kept, parameters(BODY))
    reset(computed, parameters(None))
    ours, theirs = arrays(kept), arrays(computed)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-7, msg=name)
        assert torch.equal(value[~MASK], before[name][~MASK]), name
        assert (value[MASK] != before[name][MASK]).any(), name
    assert torch.equal(ours["body_mass"][0], ours["body_mass"][3]), "of one body"
    for simulator in (kept, computed):
        for _ in range(20):
            simulator.step(simulator._default_ctrl.repeat(N, 1) + 0.1)
    torch.testing.assert_close(kept.state.base_pos, computed.state.base_pos, rtol=0, atol=1e-5)


def test_a_reset_without_parameters_leaves_them(build: Callable[[], MujocoWarp]) -> None:
    simulator = build()
    simulator.keep_bodies(bodies())
    reset(simulator, parameters(BODY))
    before = arrays(simulator)
    reset(simulator, None)
    assert all(torch.equal(value, before[name]) for name, value in arrays(simulator).items())
