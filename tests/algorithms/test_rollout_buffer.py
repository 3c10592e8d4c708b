"""Chunks of a rollout: each drawn once, and all their parts from the same place."""

from __future__ import annotations

import pytest
import torch

from legged_ppo.algorithms.rollout_buffer import RolloutBuffer

T, N, LAYERS, HIDDEN, ACTIONS = 12, 7, 2, 3, 2
BPTT_LENGTHS = [T, 4, 1]


def codes() -> torch.Tensor:
    """[T, N], a number for each step of each environment."""
    return 100.0 * torch.arange(T)[:, None] + torch.arange(N)


def is_start(code: torch.Tensor) -> torch.Tensor:
    return code.long() % 3 == 0


def encoded_buffer(bptt_length: int) -> RolloutBuffer:
    """Every tensor holds `codes`, plus a number of its own."""
    buffer = RolloutBuffer(T, bptt_length, N, ACTIONS, torch.device("cpu"))
    for t, code in enumerate(codes()):
        obs = {"a": code[:, None].expand(N, 2), "b": code[:, None] + 0.125}
        state = code[:, None].expand(LAYERS, N, HIDDEN) + torch.arange(LAYERS)[:, None, None]
        buffer.store_inputs(t, obs, state, is_start(code))
        buffer.store_action(t, code[:, None].expand(N, ACTIONS) + 0.25, code + 0.375, code + 0.5)
    buffer.advantages.copy_(codes() + 0.625)
    buffer.returns.copy_(codes() + 0.75)
    return buffer


@pytest.mark.parametrize("bptt_length", BPTT_LENGTHS)
@pytest.mark.parametrize("count", [1, 3, 5, 1000])
def test_every_chunk_is_drawn_exactly_once_an_epoch_without_dropping_a_remainder(
    bptt_length: int, count: int
) -> None:
    buffer = encoded_buffer(bptt_length)
    parts = list(buffer.minibatch_ids(count, torch.Generator().manual_seed(0)))
    total = N * T // bptt_length
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(total))
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == min(count, total)


@pytest.mark.parametrize("bptt_length", BPTT_LENGTHS)
def test_every_minibatch_gets_its_share_of_every_kind(bptt_length: int) -> None:
    buffer = encoded_buffer(bptt_length)
    buffer.env_groups = torch.arange(N) % 3
    chunks = N * T // bptt_length
    parts = list(buffer.minibatch_ids(3, torch.Generator().manual_seed(0)))
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(chunks))
    counts = torch.stack([torch.bincount(buffer.env_groups[p % N], minlength=3) for p in parts])
    assert len(parts) == 3 and (counts.amax(0) - counts.amin(0)).max() <= 1


def test_order_differs_between_epochs_and_follows_the_generator() -> None:
    buffer = encoded_buffer(4)

    def epochs() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(3)
        return [torch.cat(list(buffer.minibatch_ids(5, generator))) for _ in range(3)]

    first, again = epochs(), epochs()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    natural = torch.arange(3 * N)
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert not torch.equal(first[a], first[b])
    assert not any(torch.equal(order, natural) for order in first)


@pytest.mark.parametrize("bptt_length", BPTT_LENGTHS)
def test_all_parts_of_a_minibatch_belong_to_the_same_steps(bptt_length: int) -> None:
    buffer = encoded_buffer(bptt_length)
    seen = []
    for ids in buffer.minibatch_ids(5, torch.Generator().manual_seed(0)):
        batch = buffer.gather(ids)
        first, second = batch.obs["a"], batch.obs["b"]
        assert isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)
        code = first[..., 0]
        assert code.shape == (bptt_length, len(ids))
        # Time order is kept inside a chunk, and a chunk is one environment's.
        assert torch.equal(code, code[0] + 100.0 * torch.arange(bptt_length)[:, None])
        assert torch.equal(code[0] // 100 % bptt_length, torch.zeros(len(ids)))
        layer = torch.arange(LAYERS)[:, None, None]
        assert torch.equal(batch.state, (code[0, :, None] + layer).expand(LAYERS, -1, HIDDEN))
        assert torch.equal(second[..., 0], code + 0.125)
        assert torch.equal(batch.actions, (code[..., None] + 0.25).expand(-1, -1, ACTIONS))
        assert torch.equal(batch.starts, is_start(code))
        for offset, tensor in (
            (0.375, batch.log_probs),
            (0.5, batch.values),
            (0.625, batch.advantages),
            (0.75, batch.returns),
        ):
            assert torch.equal(tensor, code + offset)
        seen.append(code.flatten())
    assert torch.equal(torch.cat(seen).sort().values, codes().flatten().sort().values)


def test_next_rollout_overwrites_the_last() -> None:
    buffer = encoded_buffer(4)
    for t in range(T):
        buffer.store_inputs(
            t,
            {"a": torch.full((N, 2), -1.0)},
            torch.full((LAYERS, N, HIDDEN), -2.0),
            torch.zeros(N, dtype=torch.bool),
        )
    batch = buffer.gather(torch.arange(3 * N))
    assert (batch.obs["a"] == -1).all() and (batch.state == -2).all() and not batch.starts.any()


def test_only_chunks_of_the_learned_environments_are_drawn() -> None:
    """Chunk ids count all environments: with symmetry the second half are mirrored copies."""
    buffer = RolloutBuffer(4, 2, 4, 1, torch.device("cpu"), learned_envs=2)
    drawn = torch.cat(list(buffer.minibatch_ids(2, torch.Generator().manual_seed(0))))
    assert sorted(drawn.tolist()) == [0, 1, 4, 5], "environments 0 and 1 of both chunks"
