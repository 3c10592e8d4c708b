"""What a model must not have, because the engine would simulate it differently from MuJoCo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mujoco
import numpy as np

from legged_ppo.errors import ConfigError
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.simd.contact_parameters import contact_parameters
from legged_ppo.sim.simd.robot import moving_children

_GEOMS = (int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE))
_UNUSED_FLAGS = (
    int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    | int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    | int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
    | int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
)
"""Flags that do not change a trajectory here."""


def check_model(model: mujoco.MjModel, robot: RobotSpec) -> None:
    """Refuse what the engine cannot do exactly.

    Raises:
        ConfigError: names the first such thing.
    """
    for reason in _reasons(model, model.body(robot.config.base_body).id):
        expected = f"mujoco_c for {robot.config.mjcf}, which has {reason}"
        raise ConfigError("sim.engine", "simd", expected)


def _reasons(model: mujoco.MjModel, base: int) -> Iterator[str]:
    yield from _options(model)
    for count, name in (
        (model.neq, "an equality constraint (a closed loop)"),
        (model.ntendon, "a tendon"),
        (model.nflex, "a flexible body"),
        (model.npair, "an explicit contact pair"),
        (model.nmocap, "a mocap body"),
        (model.nplugin, "a plugin"),
        (model.na, "an actuator with a state"),
    ):
        if count:
            yield name
    yield from _tree(model, base)
    yield from _joints(model)
    colliding = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    colliders = np.flatnonzero((model.geom_bodyid > 0) & colliding).tolist()
    for geom in colliders:
        yield from _collider(model, geom)
    powers = {contact_parameters(model, geom).softness.impedance[4] for geom in colliders}
    if len(powers) > 1:
        yield "contacts whose impedances (solimp) have different powers"


def _options(model: mujoco.MjModel) -> Iterator[str]:
    option = model.opt
    if option.cone != int(mujoco.mjtCone.mjCONE_PYRAMIDAL):
        yield "elliptic friction cones (sim.cone=elliptic)"
    if option.solver != int(mujoco.mjtSolver.mjSOL_NEWTON):
        yield "another solver than Newton"
    if option.integrator not in (
        int(mujoco.mjtIntegrator.mjINT_EULER),
        int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST),
    ):
        yield "another integrator than euler and implicitfast"
    if option.density or option.viscosity or option.wind.any():
        yield "air (density, viscosity or wind)"
    if option.disableflags & ~_UNUSED_FLAGS or option.enableflags:
        yield "physics flags that are disabled or enabled (option/flag)"
    if option.noslip_iterations:
        yield "noslip iterations"


def _tree(model: mujoco.MjModel, base: int) -> Iterator[str]:
    if model.body_parentid[base] != 0:
        yield "a base that is not a child of the world"
    if not moving_children(model, base):
        yield "no legs"
    for body in range(1, model.nbody):
        name = model.body(body).name
        if model.body_weldid[body] == 0 and model.body_geomnum[body]:
            yield f"a fixed body with geoms ({name})"
        if model.body_gravcomp[body]:
            yield f"gravity compensation (body {name})"
        if body != base and model.body_jntnum[body] > 1:
            yield f"a body with several joints ({name})"
        if body != base and model.body_jntnum[body] and len(moving_children(model, body)) > 1:
            yield f"a leg that branches (at body {name})"
        if model.body_rootid[body] not in (base, body) and model.body_weldid[body]:
            yield f"a moving body outside the robot ({name})"


def _joints(model: mujoco.MjModel) -> Iterator[str]:
    hinge, free = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_FREE)
    for joint in range(model.njnt):
        name, dof = model.joint(joint).name, model.jnt_dofadr[joint]
        if model.jnt_type[joint] not in (hinge, free):
            yield f"a joint that is no hinge ({name})"
        if model.jnt_stiffness[joint]:
            yield f"a joint with a spring ({name})"
        if model.jnt_margin[joint]:
            yield f"a joint with a limit margin ({name})"
        if model.dof_frictionloss[dof]:
            yield f"friction loss (joint {name})"
        if model.jnt_type[joint] == free and (
            model.dof_damping[dof : dof + 6].any() or model.dof_armature[dof : dof + 6].any()
        ):
            yield f"damping or armature of the free joint ({name})"
        if model.jnt_limited[joint]:
            yield from _impedance(model.jnt_solimp[joint], f"joint {name}")


def _collider(model: mujoco.MjModel, geom: int) -> Iterator[str]:
    name = model.geom(geom).name or f"geom {geom}"
    kind = model.geom_type[geom]
    if kind not in _GEOMS:
        label = mujoco.mjtGeom(int(kind)).name.removeprefix("mjGEOM_").lower()
        yield f"a {label} that collides ({name}), where only spheres and capsules may"
    if model.geom_condim[geom] != 3:
        yield f"a contact dimension other than 3 ({name})"
    if model.geom_margin[geom] or model.geom_gap[geom]:
        yield f"a contact margin or gap ({name})"
    yield from _impedance(contact_parameters(model, geom).softness.impedance, name)


def _impedance(solimp: Sequence[float], name: str) -> Iterator[str]:
    low, high, width, _, power = solimp
    if power not in (1, 2, 3) or low == high or width <= 0:
        yield f"a constant impedance, or one of a power other than 1, 2 or 3 (solimp of {name})"
