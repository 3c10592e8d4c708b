"""Commands from key presses."""

from __future__ import annotations

import pytest

from legged_ppo.config.schema import CommandConfig
from legged_ppo.viewer.driving import MOVES, STEPS, Driver

RANGES = CommandConfig(lin_vel_x=[0.2, 0.5], lin_vel_y=[-0.3, 0.3], yaw_rate=[-1.0, 1.0])


def test_every_move_changes_its_part_by_a_step_and_its_opposite_undoes_it() -> None:
    driver = Driver(CommandConfig())
    for there, back in (("forward", "back"), ("left", "right"), ("turn left", "turn right")):
        part, sign = MOVES[there]
        moved = driver.press(there)
        assert moved[part] == pytest.approx(sign * STEPS[part])
        assert sum(value != 0.0 for value in moved) == 1
        assert driver.press(back) == (0.0, 0.0, 0.0)


def test_commands_stay_where_the_policy_was_trained_and_standing_is_allowed() -> None:
    driver = Driver(RANGES)
    for _ in range(20):
        driver.press("forward")
        driver.press("turn right")
    assert driver.command == (0.5, 0.0, -1.0)
    for _ in range(20):
        driver.press("back")
    assert driver.command == (0.0, 0.0, -1.0)  # backwards was not trained
    assert driver.press("stop") == (0.0, 0.0, 0.0)
    assert driver.set((9.0, -9.0, 0.4)) == (0.5, -0.3, 0.4)


def test_a_stick_reaches_from_limit_to_limit() -> None:
    driver = Driver(RANGES)
    assert driver.deflect((1.0, -1.0, 0.5)) == (0.5, -0.3, 0.5)
    assert driver.deflect((-1.0, 0.5, 0.0)) == (0.0, 0.15, 0.0)  # backwards was not trained
