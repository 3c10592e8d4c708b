"""What live viewers share: commands, places, pushes and other policies while robots walk."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.viewer.live import LiveRollout, Pace


@pytest.fixture
def live(config: Config, make_policy: Callable[..., ActorCritic]) -> LiveRollout:
    config.task.observations.noise = False
    return LiveRollout(make_policy(config), config, 3, place=("rough", 1), endless=True)


def test_a_command_reaches_the_observation_of_the_next_step(live: LiveRollout) -> None:
    live.step()
    live.command((0.4, -0.1, 0.3))
    seen = []
    act = live._actor.act
    live._actor.act = lambda obs: seen.append(obs["commands"].clone()) or act(obs)  # type: ignore
    live.step()
    expected = torch.tensor([0.4, -0.1, 0.3]).expand(3, 3)
    assert torch.allclose(seen[0][:, :3], expected)
    assert torch.equal(live.env.commands.command, expected)


def test_drawn_commands_differ_between_robots_at_once(live: LiveRollout) -> None:
    live.command((0.4, 0.0, 0.0))
    live.command(None)
    assert live.driver.command is None
    assert len(live.env.commands.command.unique(dim=0)) > 1


def test_robots_begin_anew_on_another_tile_and_an_unknown_one_changes_nothing(
    live: LiveRollout,
) -> None:
    for _ in range(5):
        live.step()
    with pytest.raises(ConfigError, match="rough"):
        live.place("ruogh", 0)
    assert live.place_name == ("rough", 1)
    live.place("flat", 0)
    assert live.place_name == ("flat", 0)
    assert int(live.env.episode_length.max()) == 0 and bool(live.ended.all())
    away = (live.env.simulator.state.base_pos - live.env.placement.origin).abs()
    assert float(away[:, :2].max()) < live.env.terrain.config.tile_size / 2


def test_a_push_adds_its_speed_to_every_base(live: LiveRollout) -> None:
    live.step()
    before = _world_velocity(live)
    live.push(1.5)
    live.env.simulator.step(live.env._default.expand(3, -1).clone())
    change = (_world_velocity(live) - before)[:, :2].norm(dim=1)
    assert bool(((change > 0.9) & (change < 2.1)).all()), change


def _world_velocity(live: LiveRollout) -> torch.Tensor:
    """[N, 3] m/s"""
    state = live.env.simulator.state
    return (state.base_rotation @ state.base_lin_vel[..., None])[..., 0].clone()


def test_another_policy_takes_over_with_empty_memory_where_the_robots_are(
    live: LiveRollout, config: Config
) -> None:
    for _ in range(10):
        live.step()
    where = live.env.simulator.state.base_pos.clone()
    assert bool((live._actor.state != 0.0).any())
    torch.manual_seed(7)
    other = ActorCritic(live.env.obs_dims, live.env.num_actions, config.policy)
    live.load(other.requires_grad_(False))
    assert bool((live._actor.state == 0.0).all())
    assert torch.equal(live.env.simulator.state.base_pos, where)
    live.step()
    assert live._actor.policy is other
    assert int(live.env.episode_length.min()) == 11


def test_without_a_time_limit_robots_go_on_beyond_the_episode(live: LiveRollout) -> None:
    ended = 0
    for _ in range(round(1.5 / live.env.dt) + 10):
        live.step()
        ended += int(live.ended.sum())
    assert ended == 0


def test_pace_keeps_real_time_and_does_not_catch_up() -> None:
    pace, start = Pace(0.02), time.perf_counter()
    for _ in range(10):
        pace.wait()
    assert time.perf_counter() - start >= 0.19
    time.sleep(0.5)
    pace.wait()
    assert pace.lag > 0.4
    start = time.perf_counter()
    for _ in range(5):
        pace.wait()
    assert time.perf_counter() - start >= 0.09
