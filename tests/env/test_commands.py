"""Velocity commands: their ranges, their clock, standing robots, headings and fixed commands."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from legged_ppo.config.schema import CommandConfig
from legged_ppo.env.commands import VelocityCommands
from legged_ppo.errors import ConfigError

DT = 0.02
CONFIG = CommandConfig(
    lin_vel_x=[-0.5, 1.5], lin_vel_y=[-0.3, 0.3], yaw_rate=[-0.8, 0.6], standing_fraction=0.0
)


def make(config: CommandConfig, num_envs: int = 4000, seed: int = 0) -> VelocityCommands:
    commands = VelocityCommands(config, num_envs, DT, torch.Generator().manual_seed(seed))
    commands.resample(torch.ones(num_envs, dtype=torch.bool))
    return commands


def test_commands_fill_their_ranges() -> None:
    command = make(replace(CONFIG, min_speed=0.0)).command
    for column, (low, high) in enumerate((CONFIG.lin_vel_x, CONFIG.lin_vel_y, CONFIG.yaw_rate)):
        assert low <= command[:, column].min() < low + 0.01
        assert high - 0.01 < command[:, column].max() <= high


def test_short_planar_commands_become_zero_and_keep_their_yaw_rate() -> None:
    command = make(replace(CONFIG, min_speed=0.2)).command
    speed = command[:, :2].norm(dim=1)
    assert ((speed == 0) | (speed >= 0.2)).all()
    assert (speed == 0).any() and command[speed == 0, 2].abs().min() > 0


def test_the_standing_fraction_of_the_commands_is_zero() -> None:
    commands = make(replace(CONFIG, standing_fraction=0.25))
    zero = (commands.command == 0).all(1)
    assert torch.equal(zero, commands.standing)
    assert zero.float().mean() == pytest.approx(0.25, abs=0.03)  # 4 standard deviations
    assert not (make(CONFIG).command == 0).all(1).any()
    assert (make(replace(CONFIG, standing_fraction=1.0)).command == 0).all()


def test_only_masked_robots_get_new_commands() -> None:
    commands, mask = make(CONFIG, 6), torch.tensor([True, False] * 3)
    before, clock = commands.command.clone(), commands.time_left.clone()
    commands.step(torch.zeros(6))
    commands.resample(mask)
    assert (commands.command != before)[mask].all()
    assert torch.equal(commands.command[~mask], before[~mask])
    torch.testing.assert_close(commands.time_left, clock - DT * ~mask)


def test_commands_last_for_the_resample_time() -> None:
    commands = make(replace(CONFIG, resample_time_s=2.0), 4)
    last, changes = commands.command.clone(), []
    for step in range(1, 310):
        commands.step(torch.zeros(4))
        if not torch.equal(commands.command, last):
            assert (commands.command != last).all(1).all()
            changes.append(step)
        last = commands.command.clone()
    assert len(changes) == 3
    assert changes == pytest.approx([100, 200, 300], abs=3)  # float32 clock


def test_heading_mode_steers_to_the_heading_within_the_yaw_range() -> None:
    config = replace(CONFIG, heading=True, heading_gain=0.5, standing_fraction=0.5)
    commands = make(config, 1000)
    yaw = torch.linspace(-3.0, 3.0, 1000)
    commands.steer(yaw)
    error = torch.atan2(torch.sin(commands.heading - yaw), torch.cos(commands.heading - yaw))
    expected = torch.where(commands.standing, 0.0, (0.5 * error).clamp(-0.8, 0.6))
    torch.testing.assert_close(commands.command[:, 2], expected, atol=1e-5, rtol=0)
    assert commands.heading.min() < -3.0 and commands.heading.max() > 3.0
    for _ in range(400):  # a robot that turns as asked arrives at its heading
        commands.step(yaw)
        yaw = yaw + commands.command[:, 2] * DT
    assert (commands.heading - yaw).cos()[~commands.standing].min() > 0.9


def test_without_heading_mode_the_yaw_of_the_robot_does_not_matter() -> None:
    a, b = make(CONFIG, 8), make(CONFIG, 8)
    a.step(torch.zeros(8))
    b.step(torch.ones(8))
    assert torch.equal(a.command, b.command)


def test_robots_can_have_fixed_commands_of_their_own() -> None:
    commands = make(replace(CONFIG, resample_time_s=0.1), 4)
    wanted = torch.arange(12.0).view(4, 3) / 10
    commands.fix(wanted)
    for _ in range(12):
        commands.step(torch.zeros(4))
        assert torch.equal(commands.command, wanted)


@pytest.mark.parametrize("heading", [False, True])
def test_a_fixed_command_holds_from_now_on_until_it_is_released(heading: bool) -> None:
    commands = make(replace(CONFIG, heading=heading, resample_time_s=0.1, standing_fraction=0.5), 4)
    wanted = torch.tensor([0.5, 0.0, -0.25]).repeat(4, 1)
    commands.fix((0.5, 0, -0.25))
    assert torch.equal(commands.command, wanted)
    for _ in range(12):
        commands.step(torch.ones(4))
        assert torch.equal(commands.command, wanted)
    commands.fix(None)
    for _ in range(12):
        commands.step(torch.ones(4))
    assert not torch.equal(commands.command[:, 0], wanted[:, 0])


def test_a_loaded_state_continues_with_the_same_commands() -> None:
    first = make(replace(CONFIG, heading=True, resample_time_s=0.2), 8)
    for _ in range(4):
        first.step(torch.zeros(8))
    second = make(first.config, 8, seed=1)
    second.load_state_dict(first.state_dict())
    second._generator.set_state(first._generator.get_state())
    for _ in range(25):
        first.step(torch.zeros(8))
        second.step(torch.zeros(8))
        assert torch.equal(first.command, second.command)


def test_planned_commands_come_in_turn_whenever_a_robot_needs_one() -> None:
    def sequence(robots_that_fall: list[bool]) -> torch.Tensor:
        commands = VelocityCommands(CONFIG, 3, DT, torch.Generator().manual_seed(7))
        commands.plan(4)
        commands.resample(torch.ones(3, dtype=torch.bool))
        commands.resample(torch.tensor(robots_that_fall))
        commands.resample(torch.ones(3, dtype=torch.bool))
        return commands.command

    calm, fallen = sequence([False] * 3), sequence([True, False, False])
    assert torch.equal(calm[1:], fallen[1:]) and not torch.equal(calm[0], fallen[0])


def test_in_heading_mode_the_course_is_a_perfect_robots_whatever_the_real_one_does() -> None:
    commands = make(replace(CONFIG, heading=True, resample_time_s=100.0), 200)
    start = torch.zeros(200)
    commands.steer(start)
    perfect = start.clone()
    for step in range(300):
        error = commands.heading - perfect
        rate = CONFIG.heading_gain * torch.atan2(error.sin(), error.cos())
        perfect = perfect + DT * rate.clamp(-0.8, 0.6)
        commands.step(start + 1.5 * step * DT)  # goes round and round
        torch.testing.assert_close(commands.course, perfect, atol=1e-3, rtol=0)


def test_headings_are_about_the_robots_own_at_the_time_of_the_command() -> None:
    config = replace(
        CONFIG, heading=True, heading_range=[-0.2, 0.2], yaw_rate=[-9.0, 9.0], heading_gain=1.0
    )
    commands, yaw = make(config, 500), torch.linspace(-3.0, 3.0, 500)
    commands.steer(yaw)
    assert commands.command[:, 2].abs().max() <= 0.2 + 1e-5
    first = commands.command[:, 2].clone()
    commands.steer(yaw + 0.1)
    torch.testing.assert_close(commands.command[:, 2], first - 0.1, atol=1e-5, rtol=0)


def test_on_flat_tiles_a_third_each_follow_curves_turn_and_stand() -> None:
    config = replace(
        CONFIG,
        lin_vel_x=[0.35, 0.35],
        lin_vel_y=[0.0, 0.0],
        heading=True,
        heading_range=[-0.1, 0.1],
        flat_velocity=[0.2, 0.75],
    )
    commands = VelocityCommands(config, 6000, DT, torch.Generator().manual_seed(0))
    commands.on_flat = torch.arange(6000) < 3000
    commands.resample(torch.ones(6000, dtype=torch.bool))
    turn = commands.turn.clone()
    commands.steer(torch.zeros(6000))
    flat, rest = commands.command[:3000], commands.command[3000:]
    assert (rest[:, 0] == 0.35).all() and rest[:, 2].abs().max() < 0.06
    curve, stand = flat[:, 0] > 0, commands.standing[:3000]
    for share in (curve.float().mean(), stand.float().mean()):
        assert share == pytest.approx(1 / 3, abs=0.03)
    assert flat[curve, 0].min() >= 0.2 and flat[curve, 0].max() <= 0.75
    assert turn[:3000][curve].abs().max() < 1.05 and not flat[stand].any()
    spot = ~curve & ~stand
    assert not flat[spot, :2].any() and turn[:3000][spot].abs().max() > 3.0
    narrowed = make(replace(commands.config, initial_scale=0.5), 6000)
    narrowed.on_flat = commands.on_flat
    narrowed.set_progress(0.0)
    narrowed.resample(torch.ones(6000, dtype=torch.bool))
    assert narrowed.command[:, 0].max() == pytest.approx(0.375, abs=0.01), "flat ground too"


def test_beside_gaps_commands_lead_forward() -> None:
    config = replace(
        CONFIG,
        lin_vel_x=[-0.5, 1.0],
        lin_vel_y=[-0.5, 0.5],
        heading=True,
        standing_fraction=0.25,
        forward_types=["gaps"],
        forward_velocity=[0.4, 0.9],
        forward_heading=[-0.3, 0.2],
    )
    commands = VelocityCommands(config, 6000, DT, torch.Generator().manual_seed(0))
    commands.on_forward = torch.arange(6000) < 3000
    commands.resample(torch.ones(6000, dtype=torch.bool))
    ahead, rest, stand = commands.command[:3000], commands.command[3000:], commands.standing
    walking = ahead[~stand[:3000]]
    assert walking[:, 0].min() >= 0.4 and walking[:, 0].max() <= 0.9 and not walking[:, 1].any()
    assert walking[:, 0].std() > 0.1
    assert commands.turn[:3000].min() >= -0.3 and commands.turn[:3000].max() <= 0.2
    assert stand[:3000].float().mean() == pytest.approx(0.25, abs=0.03)
    assert not ahead[stand[:3000], :2].any()
    assert rest[:, 0].min() < -0.4 and rest[:, 1].abs().max() > 0.4
    assert commands.turn[3000:].abs().max() > 3.0


def test_ranges_widen_with_the_training() -> None:
    commands = make(replace(CONFIG, initial_scale=0.2, ramp=0.5, min_speed=0.0))
    widest = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        commands.set_progress(progress)
        commands.resample(torch.ones(4000, dtype=torch.bool))
        widest.append(float(commands.command[:, 0].max()))
    assert widest == pytest.approx([0.3, 0.9, 1.5, 1.5], abs=0.01)


def test_narrowed_ranges_keep_robots_walking() -> None:
    """The smallest speed narrows with the ranges, or all commands would round to standing."""
    config = replace(CONFIG, lin_vel_x=[0.35, 0.35], lin_vel_y=[0.0, 0.0], min_speed=0.2)
    commands = make(replace(config, initial_scale=0.5))
    commands.set_progress(0.0)
    commands.resample(torch.ones(4000, dtype=torch.bool))
    assert commands.command[:, 0].eq(0.175).all()


def test_a_heading_range_of_zero_keeps_the_robots_own() -> None:
    config = replace(CONFIG, heading=True, heading_range=[0.0, 0.0])
    commands, yaw = make(config, 500), torch.linspace(-3.0, 3.0, 500)
    commands.steer(yaw)
    torch.testing.assert_close(commands.heading, yaw)
    assert commands.command[:, 2].abs().max() < 1e-5


def sampled(unit: torch.Tensor, config: CommandConfig) -> torch.Tensor:
    """Forward at up to 2 m/s, or stand; the yaw rate is the largest of the range."""
    forward = torch.where(unit[:, 4] < 0.25, 0.0, 2.0 * unit[:, 0])
    rate = torch.where(unit[:, 4] < 0.25, 0.0, config.yaw_rate[1])
    return torch.stack([forward, torch.zeros_like(forward), rate], dim=1)


def test_a_sampler_replaces_the_ranges_and_repeats_with_a_plan() -> None:
    generator = torch.Generator().manual_seed(0)
    commands = VelocityCommands(
        replace(CONFIG, standing_fraction=1.0, initial_scale=0.5), 4000, DT, generator, sampled
    )
    commands.set_progress(0.0)
    everyone = torch.ones(4000, dtype=torch.bool)
    commands.resample(everyone)
    command = commands.command.clone()
    assert command[:, 0].max() == pytest.approx(1.0, abs=0.01) and (command[:, 1] == 0.0).all()
    assert torch.equal(commands.standing, (command == 0.0).all(1))
    assert commands.standing.float().mean() == pytest.approx(0.25, abs=0.03)
    commands.plan(1)
    commands.resample(everyone)
    planned = commands.command.clone()
    commands.resample(everyone)
    assert torch.equal(commands.command, planned) and not torch.equal(planned, command)


def test_a_sampler_of_another_shape_is_reported_in_one_line() -> None:
    config, generator = replace(CONFIG, sampler="narrow"), torch.Generator()
    commands = VelocityCommands(config, 4, DT, generator, lambda unit, _: unit)
    with pytest.raises(ConfigError, match=r"COMMANDS\['narrow'\]\): got '\(4, 5\) torch.float32'"):
        commands.resample(torch.ones(4, dtype=torch.bool))
