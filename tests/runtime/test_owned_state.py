"""Owned state keeps its memory: what is loaded is written into the tensors that are there."""

from __future__ import annotations

import pytest
import torch

from legged_ppo.runtime.owned_state import OwnedState


class Pair(OwnedState):
    owned = ("first", "second")

    def __init__(self) -> None:
        self.first, self.second = torch.zeros(3), torch.zeros(2, dtype=torch.bool)


def test_a_saved_state_is_a_copy_and_is_loaded_in_place() -> None:
    saved, pair = Pair(), Pair()
    saved.first += 2.0
    state = saved.state_dict()
    saved.first.zero_()
    addresses = [tensor.data_ptr() for tensor in pair.owned_tensors().values()]
    pair.load_state_dict(state)
    assert pair.first.tolist() == [2.0, 2.0, 2.0]
    assert addresses == [tensor.data_ptr() for tensor in pair.owned_tensors().values()]


def test_a_state_of_another_shape_is_refused() -> None:
    state = Pair().state_dict() | {"first": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r"first: saved with shape \(1,\), needed \(3,\)"):
        Pair().load_state_dict(state)


def test_dictionaries_of_tensors_are_owned_too() -> None:
    class Memory(OwnedState):
        owned = ("obs",)

        def __init__(self) -> None:
            self.obs = {"a": torch.zeros(2), "b": torch.zeros(1)}

    saved, memory = Memory(), Memory()
    saved.obs["a"] += 1.0
    state = saved.state_dict()
    saved.obs["a"].zero_()
    memory.load_state_dict(state)
    assert {n: t.tolist() for n, t in memory.owned_tensors().items()} == {
        "obs.a": [1.0, 1.0],
        "obs.b": [0.0],
    }


def test_an_owned_tensor_cannot_be_replaced_by_another() -> None:
    pair = Pair()
    pair.first += 1.0
    with pytest.raises(AttributeError, match=r"Pair\.first is owned: write into it"):
        pair.first = pair.first + 1.0
    assert pair.first.tolist() == [1.0, 1.0, 1.0]
