"""Constants of MuJoCo's soft constraints: how solref, solimp, friction and priority of two geoms combine."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

SMALLEST = 1e-15
"""mjMINVAL"""
_LEAST_FRICTION = 1e-5
"""mjMINMU"""
_LEAST_IMPEDANCE, _MOST_IMPEDANCE = 1e-4, 0.9999


@dataclass(frozen=True)
class Softness:
    """Of a contact or joint limit: reference acceleration -damping v - stiffness impedance(r) r."""

    stiffness: float
    """1/s^2"""
    damping: float
    """1/s"""
    impedance: tuple[float, ...]
    """[5]: at zero depth, at full depth, full depth [m or rad], midpoint, power"""


@dataclass(frozen=True)
class ContactParameters:
    """Of a collider on the ground."""

    softness: Softness
    friction: float
    """of the collider and the ground together, unless the robot has a friction of its own"""
    own_friction: bool
    """the collider's friction applies whatever the ground's is"""
    regularization: float
    """R of a pyramid's edge over (1 - d)/d A mu^2 (1 + mu^2): 2 / impratio"""


def softness(timestep: float, solref: np.ndarray, solimp: np.ndarray) -> Softness:
    """From MuJoCo's attributes (engine_core_constraint.c: getsolparam, mj_makeImpedance)."""
    limits = np.array([_LEAST_IMPEDANCE, _MOST_IMPEDANCE])
    low, high, middle = (float(np.clip(solimp[i], *limits)) for i in (0, 1, 3))
    impedance = (low, high, float(max(0.0, solimp[2])), middle, float(max(1.0, solimp[4])))
    first, second = map(float, solref)
    if first > 0:
        first = max(first, 2 * timestep)
        stiffness = 1 / max(SMALLEST, high**2 * first**2 * second**2)
        damping = 2 / max(SMALLEST, high * first)
    else:
        stiffness, damping = -first / high**2, -second / high
    return Softness(stiffness, damping, impedance)


def joint_softness(model: mujoco.MjModel, joint: int) -> Softness:
    """Of the limits of a joint."""
    return softness(model.opt.timestep, model.jnt_solref[joint], model.jnt_solimp[joint])


def contact_parameters(model: mujoco.MjModel, geom: int) -> ContactParameters:
    """Of a geom of the robot on the ground (engine_collision_driver.c: mj_contactParam).

    All geoms of the ground have the attributes of `terrain.geoms.SURFACE`.
    """
    ground = int(np.flatnonzero(model.geom_bodyid == 0)[0])
    ours, theirs = model.geom_priority[geom], model.geom_priority[ground]
    if ours != theirs:
        winner = geom if ours > theirs else ground
        solref, solimp = model.geom_solref[winner], model.geom_solimp[winner]
        friction = model.geom_friction[winner, 0]
    else:
        weights = model.geom_solmix[[ground, geom]]
        mix = weights[0] / weights.sum()
        a, b = model.geom_solref[ground], model.geom_solref[geom]
        blended = mix * a + (1 - mix) * b
        solref = blended if a[0] > 0 and b[0] > 0 else np.minimum(a, b)
        solimp = mix * model.geom_solimp[ground] + (1 - mix) * model.geom_solimp[geom]
        friction = max(model.geom_friction[geom, 0], model.geom_friction[ground, 0])
    return ContactParameters(
        softness=softness(model.opt.timestep, solref, solimp),
        friction=max(float(friction), _LEAST_FRICTION),
        own_friction=bool(ours > theirs),
        regularization=2.0 / float(model.opt.impratio),
    )
