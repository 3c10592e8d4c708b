"""The height sensor: where it looks, how often and how late."""

from __future__ import annotations

import math

import torch

from legged_ppo.config.schema import ScandotsConfig
from legged_ppo.sensors.height_scan import Scandots

DT = 0.02


def sensor(num_envs: int = 3, **settings: object) -> Scandots:
    config = ScandotsConfig(x=[0.5, 1.0], y=[-0.25, 0.25], **{"noise": 0.0, **settings})  # type: ignore[arg-type]
    return Scandots(config, num_envs, DT, torch.Generator().manual_seed(0))


def everyone(num_envs: int = 3) -> torch.Tensor:
    return torch.ones(num_envs, dtype=torch.bool)


def heights(value: float, num_envs: int = 3) -> torch.Tensor:
    return torch.full((num_envs, 4), 0.3 + value)


def test_points_turn_with_the_heading_and_move_with_the_base() -> None:
    base = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    found = sensor(2).points(base, torch.tensor([0.0, math.pi / 2]))
    grid = torch.tensor([[0.5, -0.25], [0.5, 0.25], [1.0, -0.25], [1.0, 0.25]])
    torch.testing.assert_close(found[0], grid + torch.tensor([1.0, 2.0]))
    turned = torch.stack([-grid[:, 1], grid[:, 0]], dim=1)
    torch.testing.assert_close(found[1], turned, atol=1e-6, rtol=0)


def test_without_period_and_latency_the_reading_is_the_present() -> None:
    dots = sensor()
    for value in (0.1, -0.2):
        dots.step(heights(value))
        torch.testing.assert_close(dots.reading, torch.full((3, 4), value))
    dots.step(heights(-3.0))
    assert torch.equal(dots.reading, torch.full((3, 4), -1.0)), "clipped"


def test_a_reading_stays_for_its_period() -> None:
    dots = sensor(200, period_s=[0.08, 0.12])
    dots.reset(everyone(200), heights(0.0, 200))
    seen = []
    for step in range(1, 101):
        dots.step(heights(0.001 * step, 200))
        seen.append(dots.reading[:, 0].clone())
    changes = (torch.stack(seen).diff(dim=0) > 1e-5).float()
    rate = float(changes.mean()) / DT
    assert 1 / 0.12 < rate < 1 / 0.08
    gaps = [torch.diff(column.nonzero().squeeze(1)) for column in changes.T]
    assert {int(g) for gap in gaps for g in gap} <= {4, 5, 6}


def test_a_delay_is_drawn_for_each_robot_and_shows_the_past() -> None:
    dots = sensor(300, latency_s=[0.01, 0.03])
    dots.reset(everyone(300), heights(0.0, 300))
    for step in range(1, 6):
        dots.step(heights(0.1 * step, 300))
    late = (0.5 - dots.reading[:, 0]) / 0.1
    torch.testing.assert_close(late, dots.delay, atol=1e-5, rtol=0)
    assert 0.5 <= late.min() < 0.55 and 1.45 < late.max() <= 1.5, "10 to 30 ms in steps of 20"
    for latency in (0.0, 0.01, 0.02, 0.03, 0.06, 0.07):
        dots = sensor(4, latency_s=[latency, latency])
        dots.reset(everyone(4), heights(0.0, 4))
        for step in range(1, 6):
            dots.step(heights(0.1 * step, 4))
        assert abs(float(dots.reading[0, 0]) - (0.5 - 0.1 * latency / DT)) < 1e-5
    assert sensor(50, latency_s=[0.04, 0.04]).delay.max() == 0.0, "drawn at the reset"


def test_a_reset_shows_the_new_ground_to_the_masked_robots_only() -> None:
    dots = sensor(period_s=[0.1, 0.1], latency_s=[0.02, 0.02])
    dots.reset(everyone(), heights(0.0))
    dots.reset(torch.tensor([False, True, False]), heights(0.5))
    assert dots.reading[:, 0].tolist() == [0.0, 0.5, 0.0]
    for _ in range(7):
        dots.step(heights(0.5))
    torch.testing.assert_close(dots.reading, torch.full((3, 4), 0.5))


def test_noise_has_the_configured_size() -> None:
    dots = sensor(2000, noise=0.05)
    dots.step(heights(0.0, 2000))
    assert abs(float(dots.reading.std()) - 0.05) < 0.003


def test_a_latency_between_two_steps_interpolates_their_scans() -> None:
    dots = sensor(4, latency_s=[0.03, 0.03])
    dots.reset(everyone(4), heights(0.0, 4))
    for value in (0.0, 0.1, 0.5, 0.2):
        dots.step(heights(value, 4))
    assert abs(float(dots.reading[0, 0]) - 0.3) < 1e-5, "between 0.1 and 0.5"


def test_the_mean_period_is_that_of_its_range() -> None:
    robots, steps = 500, 1000
    dots = sensor(robots, period_s=[0.08, 0.12])
    dots.reset(everyone(robots), heights(0.0, robots))
    updates = 0
    for step in range(1, steps + 1):
        before = dots.reading.clone()
        dots.step(heights(0.0005 * step, robots))
        updates += int((dots.reading != before)[:, 0].sum())
    # 100,000 periods of standard deviation 0.0115 s, and half a period lost at an end.
    assert abs(robots * steps * DT / updates - 0.1) < 5e-4
