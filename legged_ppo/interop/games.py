"""Games that need wrappers before a policy can play them, registered with Gymnasium by this module's import.

`gym.id: legged_ppo.interop.games:MiniGrid-v0` with `gym.kwargs: {task: MiniGrid-DoorKey-5x5-v0}`, and
`gym.id: legged_ppo.interop.games:SuperMario-v0` with `gym.kwargs: {stage: 1-1}`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import FlattenObservation


class NoopStart(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Begins every episode with a random number of steps without an action (Mnih et al., 2015): a game that is
    the same each time would otherwise have one episode alone.

    Args:
        most: the largest number of them.
        noop: the action that does nothing.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], most: int, noop: Any = 0) -> None:
        super().__init__(env)
        self._most, self._noop = most, noop

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        seen, info = self.env.reset(seed=seed, options=options)
        for _ in range(int(self.np_random.integers(self._most + 1))):
            seen, _, terminated, truncated, info = self.env.step(self._noop)
            if terminated or truncated:
                seen, info = self.env.reset(options=options)
        return seen, info


def make_minigrid(task: str, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    """A MiniGrid task whose observation is the agent's view, 7 x 7 cells of object, colour and state, as 147
    numbers. Its reward is 0 but for the last step of a success (Chevalier-Boisvert et al., 2023)."""
    from minigrid.wrappers import ImgObsWrapper

    game = gymnasium.make(task, render_mode=render_mode, disable_env_checker=True)
    return FlattenObservation(ImgObsWrapper(game))


def make_mario(
    stage: str = "1-1", actions: str = "simple", render_mode: str | None = None
) -> gymnasium.Env[Any, Any]:
    """A stage of Super Mario Bros.; its info has `flag_get` at the end of a success.

    Args:
        stage: world and stage.
        actions: `right_only` (5 of them), `simple` (7) or `complex` (12).
    """
    import gym_super_mario_bros
    from gym_super_mario_bros import actions as known
    from nes_py.wrappers import JoypadSpace

    sets = {
        "right_only": known.RIGHT_ONLY,
        "simple": known.SIMPLE_MOVEMENT,
        "complex": known.COMPLEX_MOVEMENT,
    }
    if actions not in sets:
        raise TypeError(f"actions: got {actions!r}, expected one of {', '.join(sets)}")
    game = gym_super_mario_bros.make(f"SuperMarioBros-{stage}-v0", render_mode=render_mode)
    return NoopStart(JoypadSpace(game, sets[actions]), most=30)


gymnasium.register("MiniGrid-v0", entry_point=f"{__name__}:make_minigrid", disable_env_checker=True)
gymnasium.register("SuperMario-v0", entry_point=f"{__name__}:make_mario", disable_env_checker=True)
