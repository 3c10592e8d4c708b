"""Metadata of a policy, from its recipe and its robot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from legged_ppo.config.schema import Config, DepthConfig
from legged_ppo.deploy.metadata import Group, Metadata, Term
from legged_ppo.deploy.robot_figures import figures_of
from legged_ppo.models.depth_encoder import DEPTH
from legged_ppo.robots.front import camera_mount
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sensors.height_scan import CLIP, NOMINAL_HEIGHT

SENSED = ("proprioception", "commands", "scandots")
"""Built-in observation groups that a robot can compute."""


def describe(
    config: Config,
    robot: RobotSpec,
    groups: Mapping[str, int],
    state: Sequence[int],
    origin: dict[str, Any],
) -> Metadata:
    """Metadata of a policy that reads these observation groups (name: width).

    Args:
        state: shape of the recurrent state, empty without memory.
        origin: what is known of the checkpoint.
    """
    scandots = config.task.observations.scandots
    known, camera = _groups(config, robot), {}
    if DEPTH in groups:
        camera = asdict(config.task.observations.depth)
        camera["position"] = list(camera_mount(robot, camera["position"]))
        if not config.task.observations.noise:
            camera["noise"] = camera["holes"] = 0.0
        known[DEPTH] = _depth(config.task.observations.depth)
    return Metadata(
        robot=figures_of(robot),
        dt=config.sim.dt * config.sim.decimation,
        action_scale=config.robot.action_scale,
        action_clip=config.task.action_clip,
        recurrent_state=list(state),
        observations=[known.get(name) or _extension(name, groups[name]) for name in groups],
        commands=asdict(config.task.commands),
        gait=asdict(config.task.gait),
        scandots=[[x, y] for x in scandots.x for y in scandots.y] if "scandots" in groups else [],
        config=asdict(config),
        origin=origin,
        camera=camera,
    )


def _groups(config: Config, robot: RobotSpec) -> dict[str, Group]:
    """The built-in groups, as `env.observations.ObservationBuilder` makes them."""
    c, j, f = config.task.observations, robot.num_joints, robot.num_feet
    noisy = 1.0 if c.noise else 0.0
    threshold = f"1 where the foot's contact force is above {c.contact_threshold:g} N, else 0"
    proprioception = [
        Term(
            "base_ang_vel",
            3,
            "rad/s",
            "gyroscope, base frame x y z",
            scale=c.ang_vel_scale,
            noise=noisy * c.ang_vel_noise,
        ),
        Term(
            "projected_gravity",
            3,
            "1",
            "unit vector of gravity in the base frame (0, 0, -1 upright), from the IMU's orientation",
            noise=noisy * c.gravity_noise,
        ),
        Term(
            "joint_pos",
            j,
            "rad",
            "joint angles minus default_joint_pos",
            noise=noisy * c.joint_pos_noise,
        ),
        Term(
            "joint_vel",
            j,
            "rad/s",
            "joint velocities",
            scale=c.joint_vel_scale,
            noise=noisy * c.joint_vel_noise,
        ),
        Term("last_action", j, "1", "output `action` of the call before; 0 at a start"),
        Term("foot_contact", f, "1", f"{threshold}; 0 at a start"),
    ]
    commands = [
        Term("velocity", 2, "m/s", "commanded forward and lateral velocity, base frame"),
        Term("yaw_rate", 1, "rad/s", "commanded yaw rate"),
    ]
    if config.task.gait.frequency > 0.0:
        moving = "0, 0 while all three commands are 0"
        commands.append(Term("gait_clock", 2, "1", f"sine and cosine of the phase; {moving}"))
    heights = Term(
        "scandots",
        len(c.scandots.x) * len(c.scandots.y),
        "m",
        "height of the base above the ground at each point of `scandots`",
        scale=c.height_scale,
        offset=NOMINAL_HEIGHT,
        clip=CLIP,
        noise=noisy * c.scandots.noise,
    )
    groups = zip(SENSED, (proprioception, commands, [heights]), strict=True)
    return {name: Group(name, terms) for name, terms in groups}


def _depth(c: DepthConfig) -> Group:
    span = c.far - c.near
    image = Term(
        DEPTH,
        c.rows * c.columns,
        "m",
        f"depth along the optical axis of `camera`, {c.rows} rows of {c.columns} pixels from the top left; `far` "
        "where nothing is measured",
        scale=1.0 / span,
        offset=c.near + span / 2,
        clip=span / 2,
    )
    return Group(DEPTH, [image])


def _extension(name: str, width: int) -> Group:
    meaning = f"observation group {name!r} of the recipe's extensions"
    return Group(name, [Term(name, width, "as the extension defines it", meaning)])
