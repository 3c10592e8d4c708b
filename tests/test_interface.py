"""The environment contract: what a subclass must define, and what it inherits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from legged_ppo.interface import Environment, SignedPermutation, Symmetry
from legged_ppo.training.mirrored_env import SymmetryAugmentedEnv


def test_an_environment_without_step_cannot_be_made() -> None:
    class Incomplete(Environment):
        def reset(self) -> dict:
            return {}

    with pytest.raises(TypeError, match="step"):
        Incomplete()  # type: ignore[abstract]


def test_reset_and_step_are_enough_and_the_rest_has_defaults(
    make_env: Callable[..., Environment],
) -> None:
    env = make_env(2)
    assert env.env_groups is None and env.symmetry is None and env.curriculum_report() is None
    assert env.metrics() == {} and not Environment.fits_graphs
    assert Environment.state_dict(env) == {}
    env.set_progress(0.5)
    env.load_levels([{}])
    env.close()


def test_the_augmented_environment_forwards_all_that_its_robots_override(
    make_env: Callable[..., Environment],
) -> None:
    """A method of the contract that is not forwarded would silently be the default."""
    members = {n: v for n, v in vars(Environment).items() if not n.startswith("_")}
    own = {n for n, v in members.items() if callable(v) or isinstance(v, property)}
    # No copies of copies. Attributes are read from the inner environment.
    assert own - {"symmetry"} <= set(vars(SymmetryAugmentedEnv))
    one = SignedPermutation.of_signs(-1.0)
    assert SymmetryAugmentedEnv(make_env(2), Symmetry(one, {})).num_envs == 4
