"""Gait metrics: known footfall patterns have known indices, frequencies and heights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.evaluation import gait, gait_trace
from legged_ppo.evaluation.gait_trace import GaitTrace
from legged_ppo.models.actor_critic import ActorCritic

DT, STEPS, PERIOD = 0.02, 400, 20
TROT, PACE, BOUND, PRONK = (
    (0.0, 0.5, 0.5, 0.0),
    (0.0, 0.5, 0.0, 0.5),
    (0.0, 0.0, 0.5, 0.5),
    (0.0,) * 4,
)


def footfalls(phases: tuple[float, ...], duty: float = 0.6) -> np.ndarray:
    """Contacts [T, 4] of a periodic gait of 2.5 Hz."""
    step = np.arange(STEPS)[:, None] - np.round(PERIOD * np.asarray(phases)).astype(int)
    return np.asarray(step % PERIOD < round(PERIOD * duty))


def trace(contact: np.ndarray, **changed: np.ndarray) -> GaitTrace:
    """A recording of one robot that walks at 0.5 m/s with these contacts [T, 4]."""
    n, shape = 1, (STEPS, 1)
    columns = {
        "contact": contact[:, None],
        "foot_height": np.where(contact, 0.02, 0.07)[:, None],
        "foot_speed": np.where(contact, 0.01, 1.0)[:, None],
        "velocity": np.tile([0.5, 0.02, -0.03], (*shape, 1)),
        "position": np.stack([np.arange(STEPS) * DT * 0.5, np.zeros(STEPS)], 1)[:, None],
        "base_height": np.full(shape, 0.3),
        "pitch": np.full(shape, 0.1),
        "action": np.sin(2 * np.pi * 2.5 * DT * np.arange(STEPS))[:, None, None],
        "torque": np.full((*shape, 2), 10.0),
        "joint_velocity": np.full((*shape, 2), 3.0),
        "torque_limit": np.array([20.0, np.inf]),
        "velocity_limit": np.array([15.0, np.inf]),
        "fell": np.zeros(n, dtype=bool),
    }
    return GaitTrace(dt=DT, joints=["hip", "calf"], feet=list("abcd"), **(columns | changed))


@pytest.mark.parametrize(
    ("name", "phases"), [("trot", TROT), ("pace", PACE), ("bound", BOUND), ("pronk", PRONK)]
)
def test_a_gait_has_an_index_of_1_for_itself_and_less_for_the_others(
    name: str, phases: tuple[float, ...]
) -> None:
    metrics = gait.walking_metrics(trace(footfalls(phases)))
    assert metrics[f"{name}_index"] == pytest.approx(1.0, abs=1e-6)
    for other in {"trot", "pace", "bound", "pronk"} - {name}:
        assert metrics[f"{other}_index"] == pytest.approx(-1 / 3, abs=1e-6)
    assert metrics["phase_coherence"] == pytest.approx(1.0)


def test_feet_that_land_independently_of_each_other_have_no_coherence() -> None:
    rng = np.random.default_rng(0)
    contact = np.stack([np.repeat(rng.random(STEPS // 4) < 0.5, 4) for _ in range(4)], axis=1)
    metrics = gait.walking_metrics(trace(contact))
    assert metrics["phase_coherence"] is not None and metrics["phase_coherence"] < 0.5
    assert metrics["trot_index"] is not None and abs(metrics["trot_index"]) < 0.4


def test_metrics_of_a_known_trot() -> None:
    metrics = gait.walking_metrics(trace(footfalls(TROT)))
    assert metrics["stride_hz"] == pytest.approx(2.5, abs=0.13)
    assert metrics["duty"] == pytest.approx(0.6, abs=0.01)
    assert metrics["swing_height_m"] == pytest.approx(0.05)
    assert metrics["slip_m_s"] == pytest.approx(0.01)
    assert metrics["velocity_m_s"] == pytest.approx(0.5)
    assert metrics["lateral_bias_m_s"] == pytest.approx(0.02)
    assert metrics["yaw_bias_rad_s"] == pytest.approx(-0.03)
    assert metrics["peak_torque"] == pytest.approx(0.5)
    assert metrics["saturated_torque"] == 0.0
    assert metrics["power_above_8hz"] == pytest.approx(0.0, abs=1e-6)


def test_a_contact_that_flickers_is_one_stance() -> None:
    contact = footfalls(TROT)
    flickering = contact.copy()
    flickering[5::PERIOD, 0] = False  # one control step in the middle of each stance
    assert gait.landings(flickering) > gait.landings(contact)
    expected = gait.walking_metrics(trace(contact))["stride_hz"]
    assert gait.walking_metrics(trace(flickering))["stride_hz"] == expected


def test_jitter_is_the_share_of_power_above_8_hz() -> None:
    time = DT * np.arange(STEPS)
    slow, fast = np.sin(2 * np.pi * 2.5 * time), np.sin(2 * np.pi * 12.5 * time)
    assert gait.power_above(3 * slow + fast, DT, 8.0) == pytest.approx(0.1, abs=1e-6)
    assert gait.power_above(np.ones(STEPS), DT, 8.0) is None


def test_a_quiet_robot_has_no_landings_and_a_drifting_one_its_speed() -> None:
    still = np.ones((STEPS, 4), dtype=bool)
    quiet = trace(still, position=np.zeros((STEPS, 1, 2)), velocity=np.zeros((STEPS, 1, 3)))
    metrics = gait.standing_metrics(quiet)
    assert (metrics["landings_per_s"], metrics["drift_m_s"], metrics["drift_rad_s"]) == (0, 0, 0)
    drifting = gait.standing_metrics(trace(footfalls(PRONK)))
    assert drifting["landings_per_s"] == pytest.approx(2.5, abs=0.13)
    assert drifting["drift_m_s"] == pytest.approx(0.5, abs=0.01)
    assert drifting["drift_rad_s"] == pytest.approx(0.03)


def test_robots_that_fell_are_counted_and_not_measured() -> None:
    assert gait.walking_metrics(trace(footfalls(TROT), fell=np.array([True]))) == {"fall_rate": 1.0}
    assert gait.standing_metrics(trace(footfalls(TROT), fell=np.array([True]))) == {
        "fall_rate": 1.0
    }


def test_a_policy_is_recorded_under_its_command(
    make_policy: Callable[..., ActorCritic], config: Config
) -> None:
    policy = make_policy(config)
    commands = [(0.5, 0.0, 0.0), (0.0, 0.0, 0.0)]
    recorded = gait_trace.record_gaits(policy, config, commands, robots=2, seed=0)
    assert len(recorded) == 2
    for part in recorded:
        assert part.duration == pytest.approx(8.0)
        assert part.contact.shape == (400, 2, 4)
        assert np.isfinite(part.torque).all()


def test_a_policy_has_figures_for_every_speed_and_for_standing(
    make_policy: Callable[..., ActorCritic], config: Config
) -> None:
    report = gait.gait_report(make_policy(config), config, seed=0, robots=2, speeds=(0.5,))
    assert list(report) == ["gait", "standing", "motion"]
    assert list(report["gait"]) == ["0.5"]
    assert report["standing"]["fall_rate"] in (0.0, 0.5, 1.0)


def test_robots_that_tilt_too_far_have_fallen_and_each_group_has_its_command(
    make_policy: Callable[..., ActorCritic], config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.task.max_tilt = 1e-4
    built = []

    def watch(*arguments: Any) -> LocomotionEnv:
        built.append(make_locomotion_env(*arguments))
        return built[0]

    monkeypatch.setattr(gait_trace, "make_locomotion_env", watch)
    commands = [(0.5, 0.0, 0.0), (0.25, 0.0, 0.0)]
    recorded = gait_trace.record_gaits(make_policy(config), config, commands, robots=2, seed=0)
    assert all(part.fell.all() for part in recorded)
    assert built[0].commands.command[:, 0].tolist() == [0.5, 0.5, 0.25, 0.25]
