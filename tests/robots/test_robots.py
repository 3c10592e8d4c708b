"""The built-in robots against published figures, and any MJCF in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from legged_ppo.config.schema import Config, RobotConfig
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.errors import ConfigError
from legged_ppo.robots.spec import RobotSpec, load_robot, mjcf_path

LEGS = ("FL", "FR", "RL", "RR")
MIRROR = np.diag([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Figures:
    """Published figures: lengths in m, masses in kg, angles in rad, torques in N m."""

    mass: float
    mass_tolerance: float
    hip: tuple[float, float]
    lateral: float
    link: float
    foot_x: float
    foot_radius: float
    ranges: dict[str, tuple[float, float]]
    torque: tuple[float, float, float]


FIGURES = {
    "go2": Figures(
        mass=15.206,
        mass_tolerance=1e-3,
        hip=(0.1934, 0.0465),
        lateral=0.0955,
        link=0.213,
        foot_x=-0.002,
        foot_radius=0.022,
        ranges={
            "hip": (-1.0472, 1.0472),
            "front thigh": (-1.5708, 3.4907),
            "rear thigh": (-0.5236, 4.5379),
            "calf": (-2.7227, -0.83776),
        },
        torque=(23.7, 23.7, 45.43),
    ),
    "a1": Figures(
        mass=12.453,
        mass_tolerance=5e-3,
        hip=(0.183, 0.047),
        lateral=0.08505,
        link=0.2,
        foot_x=0.0,
        foot_radius=0.02,
        ranges={
            "hip": (-0.802851, 0.802851),
            "front thigh": (-1.0472, 4.18879),
            "rear thigh": (-1.0472, 4.18879),
            "calf": (-2.69653, -0.916298),
        },
        torque=(33.5, 33.5, 33.5),
    ),
}


@pytest.fixture(params=FIGURES)
def robot(request: pytest.FixtureRequest, robot_config: Callable[[str], RobotConfig]) -> RobotSpec:
    return load_robot(robot_config(request.param))


@pytest.fixture
def figures(robot: RobotSpec) -> Figures:
    return FIGURES[robot.config.name]


@pytest.fixture
def model(robot: RobotSpec) -> mujoco.MjModel:
    return robot.mjspec().compile()


def test_masses_are_the_published_ones(
    robot: RobotSpec, figures: Figures, model: mujoco.MjModel
) -> None:
    assert robot.total_mass == pytest.approx(figures.mass, abs=figures.mass_tolerance)
    base = model.body(robot.config.base_body).mass[0]
    assert base == pytest.approx({"go2": 6.921, "a1": 4.713}[robot.config.name])


def test_joint_ranges_and_torque_limits_are_the_published_ones(
    robot: RobotSpec, figures: Figures
) -> None:
    ranges = [
        [figures.ranges["hip"], figures.ranges[f"{end} thigh"], figures.ranges["calf"]]
        for end in ("front", "front", "rear", "rear")
    ]
    np.testing.assert_allclose(robot.joint_range, np.reshape(ranges, (12, 2)))
    np.testing.assert_allclose(robot.torque_limit, figures.torque * 4)


def test_the_default_pose_lies_within_the_soft_joint_limits(robot: RobotSpec) -> None:
    low, high = robot.joint_range.T
    margin = 0.05 * (high - low)
    assert (robot.default_joint_pos > low + margin).all()
    assert (robot.default_joint_pos < high - margin).all()


def inertia(model: mujoco.MjModel, body: str) -> np.ndarray:
    """Inertia [3, 3] about the centre of mass, in the body's axes."""
    axes = np.empty(9)
    mujoco.mju_quat2Mat(axes, model.body(body).iquat)
    axes = axes.reshape(3, 3)  # type: ignore[assignment]
    return axes @ np.diag(model.body(body).inertia) @ axes.T


def test_left_and_right_legs_are_mirror_images(model: mujoco.MjModel) -> None:
    for end in "FR":
        for part in ("hip", "thigh", "calf"):
            left, right = f"{end}L_{part}", f"{end}R_{part}"
            a, b = model.body(left), model.body(right)
            np.testing.assert_allclose(a.mass, b.mass)
            np.testing.assert_allclose(MIRROR @ a.pos, b.pos)
            np.testing.assert_allclose(MIRROR @ a.ipos, b.ipos)
            mirrored = MIRROR @ inertia(model, left) @ MIRROR
            np.testing.assert_allclose(mirrored, inertia(model, right), atol=1e-9)
            joints = model.joint(f"{left}_joint"), model.joint(f"{right}_joint")
            np.testing.assert_allclose(joints[0].axis, joints[1].axis)
            np.testing.assert_allclose(joints[0].range, joints[1].range)
            np.testing.assert_allclose(joints[0].armature, joints[1].armature)
        for part in ("hip", "thigh", "calf", "foot"):
            a, b = model.geom(f"{end}L_{part}"), model.geom(f"{end}R_{part}")
            np.testing.assert_allclose(MIRROR @ a.pos, b.pos, atol=1e-12)
            np.testing.assert_allclose(a.size, b.size)


def leg_kinematics(figures: Figures, leg: str, q: np.ndarray) -> np.ndarray:
    """Foot centre [3] in the base frame at hip, thigh and calf angles `q`, in closed form."""
    front, left = (1 if leg[0] == "F" else -1), (1 if leg[1] == "L" else -1)
    hip, thigh, calf = q
    x = -figures.link * (np.sin(thigh) + np.sin(thigh + calf)) + figures.foot_x * np.cos(
        thigh + calf
    )
    z = -figures.link * (np.cos(thigh) + np.cos(thigh + calf)) - figures.foot_x * np.sin(
        thigh + calf
    )
    y = left * figures.lateral
    offset = np.array([front * figures.hip[0], left * figures.hip[1], 0.0])
    foot = np.array([x, y * np.cos(hip) - z * np.sin(hip), y * np.sin(hip) + z * np.cos(hip)])
    return offset + foot


def test_leg_kinematics_match_the_closed_form(model: mujoco.MjModel, figures: Figures) -> None:
    rng, data = np.random.default_rng(0), mujoco.MjData(model)
    for _ in range(20):
        data.qpos[:7] = 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
        angles = rng.uniform(-2.0, 2.0, size=(4, 3))
        for leg, q in zip(LEGS, angles, strict=True):
            for part, angle in zip(("hip", "thigh", "calf"), q, strict=True):
                data.joint(f"{leg}_{part}_joint").qpos = angle
        mujoco.mj_kinematics(model, data)
        for leg, q in zip(LEGS, angles, strict=True):
            foot = data.geom(f"{leg}_foot").xpos
            np.testing.assert_allclose(foot, leg_kinematics(figures, leg, q), atol=1e-6)


def test_colliders_are_spheres_and_capsules_that_meet_only_the_terrain(
    model: mujoco.MjModel, figures: Figures
) -> None:
    colliders = (model.geom_contype | model.geom_conaffinity) != 0
    cheap = {int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE)}
    assert set(model.geom_type[colliders].tolist()) == cheap
    assert not model.geom_contype.any() and (model.geom_conaffinity[colliders] == 1).all()
    for leg in LEGS:
        foot = model.geom(f"{leg}_foot")
        assert foot.type == mujoco.mjtGeom.mjGEOM_SPHERE
        assert foot.size[0] == pytest.approx(figures.foot_radius)


def test_zero_action_stands_still_for_ten_seconds(robot: RobotSpec, quiet: Config) -> None:
    quiet.robot = robot.config
    env = make_locomotion_env(quiet, 2, seed=0)
    env.start_episodes_together()
    start, heights = env.simulator.state.base_pos.clone(), []
    for _ in range(500):
        result = env.step(torch.zeros(2, 12))
        assert not (result.terminated | result.truncated).any()
        assert env.survey.projected_gravity[:, 2].max() < -np.cos(0.15)
        heights.append(env.simulator.state.base_pos[:, 2])
    settled = torch.stack(heights[250:])  # the feet creep outward while the joints give way
    assert settled.min() > 0.7 * robot.config.spawn_height
    assert settled.max() - settled.min() < 0.01
    assert (env.simulator.state.base_pos - start)[:, :2].norm(dim=1).max() < 0.04


BAD_NAMES = [
    ("joints", "FL_hip_joint", "FL_hip_joints"),
    ("foot_geoms", "RR_foot", "RR_toe"),
    ("penalized_bodies", "FL_calf", "FL_shank"),
    ("termination_bodies", "base", "trunk"),
    ("base_body", "base", "trunk"),
]


@pytest.mark.parametrize(("field", "name", "bad"), BAD_NAMES)
def test_a_name_that_the_mjcf_lacks_is_told_with_its_key(field: str, name: str, bad: str) -> None:
    config = RobotConfig()
    value = getattr(config, field)
    setattr(config, field, bad if value == name else [bad if n == name else n for n in value])
    with pytest.raises(ConfigError, match=f"robot.{field}: got '{bad}'") as caught:
        load_robot(config)
    assert (caught.value.key, caught.value.value) == (f"robot.{field}", bad)


def test_a_file_that_is_missing_or_does_not_parse_is_told_with_its_name(tmp_path: Path) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_text("<mujoco><worldbody><body></worldbody></mujoco>")
    for path in (tmp_path / "missing.xml", broken):
        with pytest.raises(ConfigError, match="robot.mjcf: got .*" + path.name) as caught:
            load_robot(RobotConfig(mjcf=str(path)))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('pos="0 -0.0955 0"', 'pos="inf 0 0"', "body_pos"),
        ('armature="0.00403"', 'armature="inf"', "dof_armature"),
    ],
)
def test_an_mjcf_with_numbers_that_are_not_finite_is_refused(
    old: str, new: str, field: str, tmp_path: Path
) -> None:
    text = mjcf_path("go2").read_text()
    assert old in text
    (tmp_path / "robot.xml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=rf"robot\.mjcf: got .*finite.*{field}"):
        load_robot(RobotConfig(mjcf=str(tmp_path / "robot.xml")))


def test_velocity_limits_are_the_published_ones_or_those_of_the_mjcf(tmp_path: Path) -> None:
    assert load_robot(RobotConfig()).velocity_limit.tolist() == [30.1, 30.1, 15.7] * 4
    file, text = tmp_path / "robot.xml", mjcf_path("go2").read_text()
    file.write_text(text)
    assert np.isinf(load_robot(RobotConfig(mjcf=str(file))).velocity_limit).all()
    for count in (12, 3):
        data = " ".join(["21"] * count)
        named = f'<custom><numeric name="joint_velocity_limit" data="{data}"/></custom></mujoco>'
        file.write_text(text.replace("</mujoco>", named))
        if count == 12:
            assert load_robot(RobotConfig(mjcf=str(file))).velocity_limit.tolist() == [21.0] * 12
        else:
            with pytest.raises(ConfigError, match="12 values above 0 in its custom numeric"):
                load_robot(RobotConfig(mjcf=str(file)))


def test_configurations_that_do_not_fit_the_mjcf_are_refused() -> None:
    good = RobotConfig()
    for bad, key in (
        (replace(good, base_body="FL_hip"), "robot.base_body"),
        (replace(good, default_joint_pos=[0.0] * 11), "robot.default_joint_pos"),
        (
            replace(good, joints=good.joints[:9], default_joint_pos=[0.0] * 9),
            "robot.joints",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            load_robot(bad)
        assert caught.value.key == key


def foreign_leg(name: str, x: float, y: float) -> str:
    return f"""
      <body name="{name}_roll" pos="{x} {y} 0">
        <joint name="{name}1" axis="1 0 0"/>
        <inertial mass="0.3" pos="0 0 0" diaginertia="1e-3 1e-3 1e-3"/>
        <body name="{name}_upper" pos="0 {y} 0">
          <joint name="{name}2" axis="0 1 0"/>
          <geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.02"/>
          <body name="{name}_lower" pos="0 0 -0.2">
            <joint name="{name}3" axis="0 1 0" range="-2.5 -0.5" limited="true"/>
            <geom type="capsule" fromto="0 0 0 0 0 -0.18" size="0.015"/>
            <geom name="{name}_toe" size="0.02" pos="0 0 -0.2" friction="0.6"/>
          </body>
        </body>
      </body>"""


@pytest.fixture
def foreign(tmp_path: Path) -> RobotConfig:
    """A quadruped of other names and joint order, with actuators, a sensor, a keyframe, defaults.

    Its thighs touch its trunk.
    """
    policy_order, own_order = ("lf", "rf", "lr", "rr"), ("rr", "rf", "lr", "lf")
    legs = "".join(
        foreign_leg(n, 0.2 if n[1] == "f" else -0.2, 0.05 if n[0] == "l" else -0.05)
        for n in own_order
    )
    motors = "".join(
        f'<motor name="{n}{i}" joint="{n}{i}" ctrlrange="-{18 + i} {18 + i}" ctrllimited="true"/>'
        for n in own_order
        for i in (1, 2, 3)
    )
    path = tmp_path / "foreign.xml"
    path.write_text(f"""
      <mujoco><compiler angle="radian"/>
        <default><geom priority="2" friction="0.1 0 0" group="4"/></default>
        <worldbody>
          <body name="trunk" pos="0 0 0.5">
            <freejoint/><geom type="box" size="0.2 0.08 0.05" mass="5"/>{legs}
          </body>
        </worldbody>
        <actuator>{motors}<position name="extra" joint="lf1"/></actuator>
        <sensor><actuatorfrc actuator="rf1"/></sensor>
        <keyframe><key name="home" ctrl="{"0 " * 13}"/></keyframe>
      </mujoco>""")
    return RobotConfig(
        name="foreign",
        mjcf=str(path),
        base_body="trunk",
        joints=[f"{n}{i}" for n in policy_order for i in (1, 2, 3)],
        default_joint_pos=[0.0, 0.8, -1.5] * 4,
        foot_geoms=[f"{n}_toe" for n in policy_order],
        penalized_bodies=[f"{n}_upper" for n in policy_order],
        termination_bodies=["trunk"],
    )


def test_a_foreign_mjcf_is_read_in_the_policys_joint_order(foreign: RobotConfig) -> None:
    robot = load_robot(foreign)
    assert robot.num_joints == 12 and robot.num_feet == 4
    np.testing.assert_allclose(robot.torque_limit, [19.0, 20.0, 21.0] * 4)
    unlimited = [-np.inf, np.inf]
    np.testing.assert_array_equal(robot.joint_range, [unlimited, unlimited, [-2.5, -0.5]] * 4)
    assert robot.foot_friction == pytest.approx(0.6)


def test_a_foreign_mjcf_steps_in_the_policys_joint_order(
    foreign: RobotConfig, quiet: Config
) -> None:
    quiet.robot = foreign
    env = make_locomotion_env(quiet, 12, seed=0)
    env.start_episodes_together()
    before = env.simulator.state.joint_pos
    assert not env.step(torch.eye(12)).terminated.any()  # robot i is asked to move joint i
    moved = env.simulator.state.joint_pos - before
    moved = moved - moved.median(dim=0).values
    assert torch.equal(moved.argmax(dim=1), torch.arange(12))
    limit = torch.tensor([19.0, 20.0, 21.0] * 4)
    for _ in range(50):
        result = env.step(8.0 * torch.randn(12, 12, generator=env.generator))
        assert all(group.isfinite().all() for group in result.obs.values())
        assert result.reward.isfinite().all()
        torque = env.simulator.state.joint_torque.abs()
        assert (torque <= limit + 1e-4).all()
    assert not env.simulator.state.failed.any()


def test_the_feet_of_a_foreign_mjcf_have_the_friction_that_is_asked_for(
    foreign: RobotConfig, quiet: Config
) -> None:
    foreign.default_joint_pos, foreign.spawn_height = [0.0, 0.8, -1.5] * 4, 0.3
    quiet.robot = foreign
    for wanted, range_ in ((0.6, []), (0.3, [0.3, 0.3])):  # an empty range leaves the MJCF's
        quiet.task.randomization.friction = range_
        env = make_locomotion_env(quiet, 1, seed=0)
        env.start_episodes_together()
        batch = env.simulator.groups[0].batch  # type: ignore[attr-defined]
        model, data = batch.get_model(0), batch.get_data(0)
        for _ in range(20):
            mujoco.mj_step(model, data)
        assert data.ncon == 4
        np.testing.assert_allclose(data.contact.friction[:, 0], wanted)
        assert model.geom("ground").group == 0, "not the group of the robot's default class"
