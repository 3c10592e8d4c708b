"""Depth in place of the scandots: step by step as over a sequence, and each frame encoded once."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.errors import ConfigError
from legged_ppo.interface import Observations
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.depth_encoder import DEPTH, DepthEncoder

T, N, ACTIONS, FRAME = 9, 4, 3, (9, 12)
OBS_DIMS = {"proprioception": 5, "scandots": 6, "commands": 2, "extrinsics": 4, "privileged": 3}
assert_close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
VARIANTS: list[dict[str, Any]] = [
    {"critic_memory": "shared"},
    {"critic_memory": "own", "critic_privileged": True},
    {"critic_memory": "none", "critic_privileged": True, "actor_skip": True},
    {"gru_layers": 0},
    {"architecture": "rma"},
    {"architecture": "rma", "adaptation": True, "gru_layers": 2},
]


def make_policy(**changes: Any) -> ActorCritic:
    torch.manual_seed(0)
    small: dict[str, Any] = {"gru_hidden": 8, "actor_hidden": [7], "depth_channels": [3, 4, 5]}
    return ActorCritic(OBS_DIMS | {DEPTH: FRAME}, ACTIONS, PolicyConfig(**small | changes))


def held_frames() -> torch.Tensor:
    """[T, N, rows, columns]: each robot holds a frame for three steps, from a step of its own on."""
    frames = torch.randn(T, N, *FRAME)
    for t in range(1, T):
        for n in range(N):
            if (t + n) % 3:
                frames[t, n] = frames[t - 1, n]
    return frames


def make_inputs(policy: ActorCritic) -> tuple[Observations, torch.Tensor, torch.Tensor]:
    obs = {name: torch.randn(T, N, width) for name, width in OBS_DIMS.items()}
    obs[DEPTH] = held_frames()
    state = torch.randn(policy.trunk.state_layers, N, 8)
    return obs, state, torch.rand(T, N) < 0.3


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_sequence_equals_single_steps_forward_and_backward(changes: dict[str, Any]) -> None:
    policy = make_policy(**changes)
    obs, state, starts = make_inputs(policy)
    distribution, values, after = policy.sequence(obs, state, starts)
    ((distribution.mode * 0.7).sum() + values.square().sum()).backward()
    whole = {name: p.grad for name, p in policy.named_parameters()}
    policy.zero_grad(set_to_none=True)
    modes, each_value, carried = [], [], state
    for t in range(T):
        step = {name: group[t] for name, group in obs.items()}
        found, value, carried = policy.step(step, carried, starts[t])
        modes.append(found.mode)
        each_value.append(value)
    assert_close(torch.stack(modes), distribution.mode)
    assert_close(torch.stack(each_value), values)
    assert_close(carried, after)
    ((torch.stack(modes) * 0.7).sum() + torch.stack(each_value).square().sum()).backward()
    for name, parameter in policy.named_parameters():
        if whole[name] is not None or parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_robots_groups_suffice_to_act(changes: dict[str, Any]) -> None:
    policy = make_policy(**changes)
    obs, state, starts = make_inputs(policy)
    own = {name: obs[name] for name in ("proprioception", "commands", DEPTH)}
    if "extrinsics" in policy.obs_dims:
        own["extrinsics"] = obs["extrinsics"]
    acted, _ = policy.act_sequence(policy.normalize(own), state, starts)
    for frames in (obs[DEPTH] + 1.0, obs[DEPTH].roll(1, dims=1)):
        other, _ = policy.act_sequence(policy.normalize(own | {DEPTH: frames}), state, starts)
        assert not torch.allclose(other.mode, acted.mode)


def test_a_frame_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = DepthEncoder(FRAME, [4], [6], 5, "elu")
    counts: list[int] = []
    encode = DepthEncoder.encode

    def counting(self: DepthEncoder, frames: torch.Tensor) -> torch.Tensor:
        counts.append(len(frames))
        return encode(self, frames)

    monkeypatch.setattr(DepthEncoder, "encode", counting)
    frames = held_frames()
    latents = encoder(frames)
    new = N + int((frames[1:] != frames[:-1]).flatten(2).any(2).sum())
    assert counts == [new] and new < 0.5 * T * N
    assert_close(latents, encode(encoder, frames.flatten(0, 1)).unflatten(0, (T, N)))


def test_a_frame_memory_follows_every_robot_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy()
    encoder = policy.trunk.depth_encoder
    assert encoder is not None
    counts: list[int] = []
    encode = DepthEncoder.encode

    def counting(self: DepthEncoder, frames: torch.Tensor) -> torch.Tensor:
        counts.append(len(frames))
        return encode(self, frames)

    frames, memory = held_frames(), policy.frame_memory()
    expected = encode(encoder, frames.flatten(0, 1)).unflatten(0, (T, N))
    monkeypatch.setattr(DepthEncoder, "encode", counting)
    found = [memory({DEPTH: frame})[DEPTH] for frame in frames]
    assert_close(torch.stack(found), expected.detach())
    new = N + int((frames[1:] != frames[:-1]).flatten(2).any(2).sum())
    assert sum(counts) == new


def test_the_critics_parameters_are_those_without_influence_on_the_actions() -> None:
    for changes in VARIANTS:
        policy = make_policy(**changes)
        obs, state, starts = make_inputs(policy)
        policy.sequence(obs, state, starts)[0].mode.sum().backward()
        critic = {id(parameter) for parameter in policy.critic_parameters()}
        for name, parameter in policy.named_parameters():
            if name.startswith("head") and "std" in name:
                continue
            assert (parameter.grad is None) == (id(parameter) in critic), (changes, name)


def test_convolutions_without_room_are_left_out() -> None:
    encoder = DepthEncoder((4, 5), [3, 4, 5], [], 2, "elu")
    assert encoder(torch.zeros(1, 1, 4, 5)).shape == (1, 1, 2)


def test_an_adaptation_module_needs_no_extrinsics() -> None:
    dims = {"proprioception": 5, "commands": 2, DEPTH: FRAME}
    config = PolicyConfig(architecture="rma", adaptation=True, gru_hidden=8)
    assert ActorCritic(dims, ACTIONS, config).obs_dims == dims
    with pytest.raises(ConfigError, match="extrinsics"):
        ActorCritic(dims, ACTIONS, PolicyConfig(architecture="rma", gru_hidden=8))
