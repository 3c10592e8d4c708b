"""Gymnasium environments as `Environment`: observations are one vector or images, actions Box or Discrete."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import NormalizeReward

from legged_ppo.config.schema import GymConfig
from legged_ppo.errors import ConfigError
from legged_ppo.interface import Environment, Observations, StepResult
from legged_ppo.interop.images import are_images, image_shape, pack_images
from legged_ppo.models.trunks import IMAGE

OBSERVATION = "observation"


class FrameSkip(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Repeats every action and sums the rewards; of the last two images each pixel's brighter value is
    returned (some games draw objects in every other frame), of vectors the last one."""

    def __init__(self, env: gymnasium.Env[Any, Any], frames: int) -> None:
        super().__init__(env)
        self._frames = frames
        space = env.observation_space
        self._brighter = isinstance(space, Box) and are_images(space)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        total, before = 0.0, None
        for frame in range(self._frames):
            seen, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated or frame == self._frames - 1:
                break
            before = seen
        if self._brighter and before is not None:
            seen = np.maximum(before, seen)
        return seen, total, terminated, truncated, info


class ReplayableEpisodes(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Episodes that a checkpoint restores by replay: each starts from its own seed, and its actions are
    recorded, whatever the environment's state consists of.

    Args:
        make: makes the environment; Box2D's are made anew for every episode, because their worlds
            keep state from one to the next.
        seed: from which those of the episodes are derived.
    """

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]], seed: int) -> None:
        super().__init__(make())
        self._make, self._used = make, False
        self._remembers = "box2d" in str(self.spec.entry_point if self.spec else "")
        self._seed, self._episode = seed, -1
        self._actions: list[Any] = []
        self._seen: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """The next episode; `seed` starts another series."""
        if self._remembers and self._used:
            self.env.close()
            self.env = self._make()
        if seed is not None:
            self._seed, self._episode = seed, -1
        self._episode += 1
        self._actions, self._used = [], True
        sequence = np.random.SeedSequence([self._seed, self._episode])
        self._seen, info = self.env.reset(seed=int(sequence.generate_state(1)[0]), options=options)
        return self._seen, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._actions.append(np.array(action))
        self._seen, *outcome = self.env.step(action)
        return self._seen, *outcome

    @property
    def place(self) -> dict[str, Any]:
        """Seed, episode and actions that lead to the present state."""
        actions = torch.as_tensor(np.array(self._actions))
        seen = torch.as_tensor(np.array(self._seen))
        return {"seed": self._seed, "episode": self._episode, "actions": actions, "seen": seen}

    @place.setter
    def place(self, place: dict[str, Any]) -> None:
        self._seed, self._episode = place["seed"], place["episode"] - 1
        self.reset()
        for action in place["actions"].numpy():
            self.step(action)


def _silence_sdl() -> None:
    """Before an environment imports pygame: no banner, and no messages about a missing screen or sound card.
    Frames are drawn in memory."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


class GymnasiumEnv(Environment):
    """N copies of a Gymnasium environment as an `Environment`.

    Box actions are given in [-1, 1] and scaled to the space's bounds, beyond which they are clipped
    (unbounded spaces take them as they are); Discrete ones are one-hot rows.

    Raises:
        ConfigError: there is no such environment, or its spaces are of another kind.
    """

    fixed_state = False  # the actions of the episodes that are under way

    def __init__(self, config: GymConfig, num_envs: int, seed: int, gamma: float) -> None:
        self.config, self.num_envs = config, num_envs
        self.device = torch.device("cpu")
        _silence_sdl()
        self.copies = _make_copies(config, num_envs, seed)
        self.vector: VectorEnv[Any, Any, Any] = self.copies
        self._reward_scaling: NormalizeReward | None = None
        if config.normalize_reward:
            self._reward_scaling = NormalizeReward(self.copies, gamma=gamma)
            self.vector = self._reward_scaling
        self.obs_dims = _observation_dims(config, self.vector)
        self._to_env_actions, self.num_actions = _action_map(config, self.vector)
        self.discrete_actions = isinstance(self.vector.single_action_space, Discrete)
        spec = self.copies.get_attr("spec")[0]
        self.max_episode_steps = (spec and spec.max_episode_steps) or 0
        self.success_return = config.success_return
        own_fps = self.copies.metadata.get("render_fps", self.render_fps)
        self.render_fps = own_fps / config.frame_skip
        self.needs_opengl = str(spec and spec.entry_point).startswith("gymnasium.envs.mujoco")
        self.episode_metrics = ["count", "return", "length", "Episode/success_rate"]
        self.step_metrics: list[str] = []
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, dtype=np.int64)
        self._warned = False

    def reset(self) -> Observations:
        self._returns[:], self._lengths[:] = 0.0, 0
        return self._pack(self.vector.reset()[0])

    def step(self, actions: torch.Tensor) -> StepResult:
        """One step; returns and success rates are of the environment's own rewards."""
        observed, rewards, terminated, truncated, infos = self.vector.step(
            self._to_env_actions(actions.numpy())
        )
        truncated = truncated & ~terminated
        self._returns += self._own_rewards(rewards)
        self._lengths += 1
        ended = terminated | truncated
        obs = self._pack(observed)
        final = obs
        if ended.any():
            last = np.array(observed)
            last[ended] = np.stack(list(infos["final_obs"][ended]))
            final = self._pack(last)
        success = ended & self._successes(infos)
        episode = torch.tensor(
            [
                ended.sum(),
                self._returns[ended].sum(),
                self._lengths[ended].sum(),
                success.sum(),
            ],
            dtype=torch.float32,
        )
        self._returns[ended], self._lengths[ended] = 0.0, 0
        return StepResult(
            obs=obs,
            reward=torch.as_tensor(rewards, dtype=torch.float32),
            terminated=torch.as_tensor(terminated),
            truncated=torch.as_tensor(truncated),
            final_obs=final,
            info={
                "episode": episode,
                "step": torch.zeros(0),
                "success": torch.as_tensor(success),
            },
        )

    def _successes(self, infos: dict[str, Any]) -> np.ndarray:
        """[N] bool, of the episodes that end in this step: whether they succeeded."""
        key = self.config.success_info
        if not key:
            return self._returns >= self.success_return
        last = infos.get("final_info", {})
        if last and key not in last and not self._warned:
            self._warned = True
            known = ", ".join(sorted(name for name in last if not name.startswith("_")))
            warnings.warn(
                f"gym.success_info={key}: the info of an ended episode has {known or 'nothing'}; "
                "an episode without it counts as a failure",
                stacklevel=3,
            )
        return np.asarray(last.get(key, np.zeros(self.num_envs)), dtype=bool)

    def render(self) -> np.ndarray | None:
        """The first environment's image; `gym.kwargs` must have `render_mode: rgb_array`."""
        images = self.copies.render()
        image = None if images is None else images[0]
        return None if image is None else np.asarray(image)

    def state_dict(self) -> dict[str, Any]:
        state = {
            "places": list(self.copies.get_attr("place")),
            "returns": torch.as_tensor(self._returns).clone(),
            "lengths": torch.as_tensor(self._lengths).clone(),
        }
        if self._reward_scaling is not None:
            rms = self._reward_scaling.return_rms
            state["rewards"] = {
                "mean": float(rms.mean),
                "var": float(rms.var),
                "count": float(rms.count),
                "accumulated": torch.as_tensor(self._reward_scaling.accumulated_reward).clone(),
            }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.vector.reset()
        self.copies.set_attr("place", state["places"])
        replayed = self.copies.get_attr("place")
        if any(
            not torch.equal(now["seen"], saved["seen"])
            for now, saved in zip(replayed, state["places"], strict=True)
        ):
            warnings.warn(
                f"{self.config.id} depends on more than seeds and actions: the saved episodes "
                "continue from other states than the saved ones",
                stacklevel=2,
            )
        self._returns[:], self._lengths[:] = state["returns"].numpy(), state["lengths"].numpy()
        self._load_scaling(state)

    def load_levels(self, states: list[dict[str, Any]]) -> None:
        """Only the scale of the rewards outlives an episode."""
        self._load_scaling(states[0])

    def _load_scaling(self, state: dict[str, Any]) -> None:
        if self._reward_scaling is not None:
            saved, rms = state["rewards"], self._reward_scaling.return_rms
            rms.mean, rms.var = np.array(saved["mean"]), np.array(saved["var"])
            rms.count = saved["count"]
            self._reward_scaling.accumulated_reward = saved["accumulated"].numpy().copy()

    def close(self) -> None:
        self.vector.close()

    def _own_rewards(self, rewards: np.ndarray) -> np.ndarray:
        """The rewards before scaling."""
        scaling = self._reward_scaling
        if scaling is None:
            return rewards
        return rewards * np.sqrt(scaling.return_rms.var + scaling.epsilon)

    def _pack(self, observed: np.ndarray) -> Observations:
        if IMAGE in self.obs_dims:
            space = self.vector.single_observation_space
            assert isinstance(space, Box)
            return {IMAGE: pack_images(self.config, space, observed)}
        flat = torch.as_tensor(observed, dtype=torch.float32).reshape(self.num_envs, -1)
        if self.config.observe:
            flat = flat[:, self.config.observe]
        return {OBSERVATION: flat}


def _make_copies(config: GymConfig, num_envs: int, seed: int) -> AsyncVectorEnv | SyncVectorEnv:
    seeds = np.random.SeedSequence(seed).generate_state(num_envs).tolist()
    makers = [_maker(config, each) for each in seeds]
    try:
        if config.processes:
            return AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
        return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        near = sorted(gymnasium.registry)
        reason = " ".join(str(error).split())
        raise ConfigError(
            "gym.id", config.id, f"a Gymnasium environment ({reason})", choices=near
        ) from None


def _maker(config: GymConfig, seed: int) -> Callable[[], gymnasium.Env[Any, Any]]:
    def make() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make(config.id, **config.kwargs)
        return FrameSkip(env, config.frame_skip) if config.frame_skip > 1 else env

    return lambda: ReplayableEpisodes(make, seed)


def _observation_dims(
    config: GymConfig, vector: VectorEnv[Any, Any, Any]
) -> Mapping[str, int | tuple[int, int, int]]:
    space = vector.single_observation_space
    if not isinstance(space, Box):
        raise ConfigError("gym.id", config.id, f"an environment with Box observations, not {space}")
    if are_images(space):
        return {IMAGE: image_shape(config, space)}
    for key in ("image_size", "grayscale"):
        if getattr(config, key):
            expected = f"its default: {config.id} has no image observations"
            raise ConfigError(f"gym.{key}", getattr(config, key), expected)
    width = int(np.prod(space.shape))
    if any(not 0 <= index < width for index in config.observe):
        raise ConfigError("gym.observe", config.observe, f"indices from 0 to {width - 1}")
    return {OBSERVATION: len(config.observe) or width}


def _action_map(
    config: GymConfig, vector: VectorEnv[Any, Any, Any]
) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """How rows of the policy's actions become the environment's, and the width of a row."""
    space = vector.single_action_space
    if isinstance(space, Discrete):
        first = int(space.start)
        return (lambda rows: rows.argmax(1) + first), int(space.n)
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ConfigError(
            "gym.id", config.id, f"an environment with Discrete or flat Box actions, not {space}"
        )
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        return (lambda rows: rows), int(space.shape[0])
    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    return (lambda rows: middle + half * rows.clip(-1.0, 1.0)), int(space.shape[0])
