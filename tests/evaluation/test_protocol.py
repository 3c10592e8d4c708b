"""The published protocol: the same conditions for every policy, figures for each kind of terrain."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_ppo.cli import evaluate
from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config
from legged_ppo.evaluation.protocol import PUBLISHED, SPEED, TERRAINS, protocol_config, run_protocol
from legged_ppo.interface import Observations
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.reports.protocol_table import protocol_tables
from legged_ppo.reports.tables import as_rows
from legged_ppo.terrain.grid import build_terrain

SHORT = ["task.episode_length_s=1", "terrain.num_levels=2"]


def test_the_figures_of_the_table_add_up_to_its_totals() -> None:
    for method, displacement, time in (
        ("monolithic", 135.85, 275.01),
        ("RMA", 134.18, 278.45),
        ("noisy map", 73.05, 147.83),
        ("blind", 84.79, 175.06),
    ):
        rows = [row[method] for row in PUBLISHED.values()]
        assert [sum(column) for column in zip(*rows, strict=True)] == pytest.approx(
            [displacement, time], abs=0.02
        )


def test_every_policy_is_measured_under_the_same_conditions(config: Config) -> None:
    documented = load_config("phase1_monolithic")
    ours, theirs = protocol_config(config), protocol_config(documented)
    assert ours.terrain == theirs.terrain and ours.task.commands == theirs.task.commands
    assert ours.task.randomization == theirs.task.randomization == documented.task.randomization
    assert ours.task.randomization.push_interval_s == 15.0
    seen = ours.task.observations
    assert seen.scandots.x == config.task.observations.scandots.x  # what the network takes
    assert seen.scandots.latency_s == theirs.task.observations.scandots.latency_s == [0.01, 0.03]
    assert seen.joint_vel_noise == theirs.task.observations.joint_vel_noise
    assert ours.robot == config.robot and ours.task.gait == config.task.gait
    assert config.task.episode_length_s == 1.5  # the recipe stays as it was


def test_the_hardest_level_has_the_sizes_of_legged_gym_at_its_difficulty_of_0_9(
    config: Config,
) -> None:
    terrain = build_terrain(protocol_config(config).terrain)
    hardest = {
        name: column[-1].feature for name, column in zip(terrain.types, terrain.tiles, strict=True)
    }
    assert hardest == {
        "slope_up": "19.8 deg",
        "slope_down": "19.8 deg",
        "rough_slope": "19.8 deg",
        "stepping_stones": "9.8 cm",
        "stairs_up": "21 cm",
        "stairs_down": "21 cm",
        "curbs": "23 cm",
    }


def test_each_kind_of_terrain_has_its_episodes_on_its_own_types(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    result = run_protocol(make_policy(config), protocol_config(config, SHORT), 6, seed=0)
    assert list(result["terrain"]) == list(PUBLISHED)
    for kind, row in result["terrain"].items():
        assert row["episodes"] == 6 and set(row["types"]) == set(TERRAINS[kind])
        assert row["published"] == {name: list(pair) for name, pair in PUBLISHED[kind].items()}
        low, high = row["forward_displacement_ci95"]
        assert low < row["forward_displacement_m"] < high
        assert 0.0 <= row["fall_rate"] <= 1.0 and 0.0 <= row["stuck_rate"] <= 1.0
        cells = [cell for group in row["types"].values() for cell in group["levels"].values()]
        assert sum(cell["episodes"] for cell in cells) == 6
    assert result["conditions"]["command_m_s"] == [SPEED, SPEED]


def test_robots_are_commanded_to_keep_the_heading_of_their_start(
    config: Config, make_policy: Callable[..., ActorCritic], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headings drift while robots stand on their shaking legs; the yaw rates that they see undo it."""
    config.task.commands.heading = False
    policy, seen = make_policy(config), []
    act = policy.act

    def watch(obs: Observations, *rest: Any) -> Any:
        seen.append(obs["commands"][:, :3].clone())
        return act(obs, *rest)

    monkeypatch.setattr(policy, "act", watch)
    run_protocol(policy, protocol_config(config, SHORT), 2, seed=0)
    commands = torch.stack(seen)  # [T, N, 3], with the statistics of an untrained policy
    wanted = torch.tensor([SPEED, 0.0]).expand_as(commands[..., :2])
    torch.testing.assert_close(commands[..., :2], wanted, rtol=1e-3, atol=0)
    assert not commands[0, :, 2].any() and commands[1:, :, 2].any()


def test_a_robot_that_stands_instead_of_walking_is_stuck(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    mild = ["task.randomization.push_interval_s=0", "task.randomization.added_mass=[0,0]"]
    conditions = protocol_config(config, [*SHORT, *mild, "task.randomization.com_shift=[0,0]"])
    row = run_protocol(make_policy(config), conditions, 4, seed=0)["terrain"]["discrete obstacles"]
    assert (row["fall_rate"], row["stuck_rate"]) == (0.0, 1.0)


def test_the_table_puts_a_policy_beside_the_published_figures(
    config: Config,
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint, file = make_checkpoint(tmp_path / "policy.pth", config), tmp_path / "protocol.json"
    arguments = ["--checkpoint", str(checkpoint), "--protocol", "agarwal", "--envs", "3", *SHORT]
    assert evaluate.main([*arguments, "--json", str(file)]) == 0
    assert "0.5 m/s forward for at most 1 s" in capsys.readouterr().out
    result = json.loads(file.read_text())
    beside, by_level = protocol_tables(result)
    _, rows = as_rows(beside)
    stairs = next(row for row in rows if row[0] == "stairs")
    assert stairs[4:6] == ["42.4", "90.5"]  # monolithic
    ratio = result["terrain"]["stairs"]["time_to_fall_s"] / 90.48
    assert stairs[-1].endswith(f"/ {ratio:.2f}")
    headings, rows = as_rows(by_level)
    assert headings == ["terrain", "0", "1"]
    assert [row[0] for row in rows] == [name for names in TERRAINS.values() for name in names]
