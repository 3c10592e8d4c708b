"""What follows from masses and armatures is what MuJoCo Warp and MuJoCo C derive from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import torch
import warp as wp

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.indexing import ModelIndex
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simulator import PhysicalParameters
from legged_ppo.sim.warp.derived_fields import DERIVED, DerivedConstants
from legged_ppo.terrain.grid import build_terrain

N = 5
CPU = torch.device("cpu")
INPUTS = ("body_mass", "body_inertia", "body_ipos", "dof_armature")
WRITTEN = (*INPUTS, "geom_friction", "actuator_gainprm", "actuator_biasprm")


def randomized(layout: ModelIndex, fields: dict[str, torch.Tensor]) -> None:
    """Give every robot but the first parameters far from nominal."""
    one = torch.ones(N)
    parameters = PhysicalParameters(
        friction=one,
        added_mass=torch.linspace(-2.0, 6.0, N),
        com_shift=0.15 * torch.linspace(-1.0, 1.0, N)[:, None] * torch.tensor([1.0, -0.7, 0.4]),
        kp_scale=one,
        kd_scale=one,
        motor_strength=one,
        armature_scale=torch.linspace(0.2, 5.0, N),
    )
    layout.write_parameters(layout.of_robot(fields), torch.arange(N) > 0, parameters)


@pytest.mark.parametrize("name", ["go2", "a1"])
def test_derived_constants_are_those_of_both_engines(
    robot_config: Callable[[str], RobotConfig], name: str
) -> None:
    robot = load_robot(robot_config(name))
    model = build_model(robot, build_terrain(TerrainConfig()).add_to, SimConfig())
    model.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    with wp.ScopedDevice("cpu"):
        m = mjw.put_model(model, dict.fromkeys((*WRITTEN, *DERIVED), N))
        fields = {name: wp.to_torch(getattr(m, name)) for name in WRITTEN}
        derived = {name: wp.to_torch(getattr(m, name)) for name in DERIVED}
        randomized(ModelIndex(model, robot, CPU), fields)
        mjw.set_const(m, mjw.make_data(model, nworld=N), restore=False)
    expected = {name: value.clone() for name, value in derived.items()}
    for value in derived.values():
        value.fill_(torch.nan)
    DerivedConstants(model, CPU).write(fields, derived)
    for name, value in derived.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)
        assert not torch.equal(value[0], value[-1]), name
    for world in range(N):
        own = derived_by_c(model, {name: fields[name][world].numpy() for name in INPUTS})
        for name, value in derived.items():
            np.testing.assert_allclose(value[world], own[name], rtol=1e-4, atol=1e-6, err_msg=name)


def derived_by_c(model: mujoco.MjModel, fields: dict[str, np.ndarray]) -> dict[str, Any]:
    """`DERIVED` of one robot, float64."""
    kept = {name: getattr(model, name).copy() for name in INPUTS}
    for name, value in fields.items():
        getattr(model, name)[:] = value
    mujoco.mj_setConst(model, mujoco.MjData(model))
    derived = {name: getattr(model, name).copy() for name in DERIVED}
    for name, value in kept.items():
        getattr(model, name)[:] = value
    return derived
