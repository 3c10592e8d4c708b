"""A policy from a checkpoint: how it acts, and under which conditions it is evaluated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import torch

from legged_ppo import evaluate, load_policy, make_env
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.rollout import rollout
from legged_ppo.models.gru import GRU
from legged_ppo.models.recurrent_policy import RecurrentPolicy


@pytest.fixture
def checkpoint(tmp_path: Path, config: Config, make_checkpoint: Callable[..., Path]) -> Path:
    config.task.episode_length_s = 0.1
    return make_checkpoint(tmp_path / "a.pth", config)


def test_it_acts_as_in_an_evaluation_with_the_state_in_the_callers_hands(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    assert policy.env_steps == 4096 and policy.path == checkpoint
    env, other = (make_env(policy.config, 3, seed=2) for _ in range(2))
    results = rollout(RecurrentPolicy(policy.network, 3, env.device), other, other.reset())
    obs, state, starts = env.reset(), policy.initial_state(3), torch.ones(3, dtype=torch.bool)
    for expected in islice(results, 12):  # through the ends of two episodes
        obs.pop("privileged")
        actions, state = policy.act(obs, state, starts)
        result = env.step(actions)
        assert torch.equal(result.reward, expected.reward)
        obs, starts = dict(result.obs), result.terminated | result.truncated


def test_overrides_change_the_conditions_but_not_the_network(checkpoint: Path) -> None:
    assert load_policy(checkpoint, ["task.max_tilt=0.5"]).config.task.max_tilt == 0.5
    for override in ("policy.gru_hidden=8", "task.observations.scandots.x=[0.1]"):
        with pytest.raises(ConfigError):
            load_policy(checkpoint, [override])


def test_it_acts_by_the_grus_kernels_unless_told_otherwise(checkpoint: Path) -> None:
    for override, wanted in (((), True), (("training.fused_gru=false",), False)):
        network = load_policy(checkpoint, override).network
        assert [m.fused for m in network.modules() if isinstance(m, GRU)] == [wanted]
    conditions = load_policy(checkpoint, ["training.fused_gru=false"]).config
    network = load_policy(checkpoint, conditions=conditions).network
    assert not any(m.fused for m in network.modules() if isinstance(m, GRU))


def test_a_config_with_other_inputs_than_the_policys_is_refused(checkpoint: Path) -> None:
    policy = load_policy(checkpoint)
    config = copy.deepcopy(policy.config)
    config.task.observations.scandots.x = [0.1]
    with pytest.raises(ConfigError, match=r"scandots\.x: got 1, expected .*, as the policy of"):
        evaluate(policy, config, episodes=2)
    config = copy.deepcopy(policy.config)
    config.terrain.proportions = {"rough": 1.0}
    assert list(evaluate(policy, config, episodes=2)["terrain"]) == ["rough"]
    assert set(evaluate(checkpoint, episodes=4)["terrain"]) == {"flat", "rough"}
