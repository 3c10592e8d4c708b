"""sb3-contrib's RecurrentPPO with LSTMs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from .script import PROBE, Findings, Minibatches, Script, flat


class Sb3Contrib:
    name = f"sb3-contrib {version('sb3-contrib')}"

    def _make(self, script: Script) -> RecurrentPPO:
        env = VecNormalize(_Env(script), norm_reward=False)
        return RecurrentPPO(
            "MlpLstmPolicy",
            env,
            n_steps=PROBE.steps,
            batch_size=PROBE.steps * PROBE.robots // PROBE.minibatches
            - 1,  # which does not divide the rollout
            n_epochs=PROBE.epochs,
            gamma=PROBE.gamma,
            seed=0,
            device="cpu",
            policy_kwargs={"lstm_hidden_size": PROBE.hidden, "net_arch": [8]},
        )

    def play(self, script: Script) -> Findings:
        model = self._make(script)
        _, callback = model._setup_learn(10**6, _Silent())
        env = model.get_vec_normalize_env()
        assert env is not None
        env.training = (
            False  # or a changed observation would reach all later ones through the statistics
        )
        model.collect_rollouts(model.env, callback, model.rollout_buffer, PROBE.steps)
        buffer = model.rollout_buffer
        advantages = torch.as_tensor(buffer.advantages).clone()
        with _unrotated():
            (whole,) = buffer.get(None)
        mask = whole.mask > 0.5
        with torch.no_grad():
            values, new, _ = model.policy.evaluate_actions(
                whole.observations, whole.actions, whole.lstm_states, whole.episode_starts
            )
        error = (new - whole.old_log_prob)[mask].abs().max()
        ids = np.arange(PROBE.steps * PROBE.robots).reshape(PROBE.steps, PROBE.robots, 1)
        buffer.returns = buffer.swap_and_flatten(ids.astype(np.float32))
        epochs = [
            [
                frozenset(b.returns[b.mask > 0.5].long().tolist())
                for b in buffer.get(model.batch_size)
            ]
            for _ in range(PROBE.epochs)
        ]
        by_robot = values.flatten()[mask].view(PROBE.robots, PROBE.steps)
        moved = self._normalizer_movement(script)
        return Findings(float(error), by_robot.T, advantages, epochs, moved)

    def _normalizer_movement(self, script: Script) -> float:
        model = self._make(script)
        _, callback = model._setup_learn(10**6, _Silent())
        env = model.get_vec_normalize_env()
        assert env is not None
        probe = np.ones((1, PROBE.inputs), dtype=np.float32)
        before = env.normalize_obs(probe)
        model.collect_rollouts(model.env, callback, model.rollout_buffer, PROBE.steps)
        return float(np.abs(env.normalize_obs(probe) - before).max())

    def uneven(self) -> Minibatches:
        return self.play(Script.random()).minibatches

    def train_and_save(
        self, script: Script, folder: Path, saved: Callable[[], None]
    ) -> torch.Tensor:
        model = self._make(script)
        model.learn(PROBE.saved_after * PROBE.steps * PROBE.robots)
        model.save(folder / "model.zip")
        env = model.get_vec_normalize_env()
        assert env is not None
        env.save(str(folder / "statistics.pkl"))
        saved()
        model.learn(
            (PROBE.iterations - PROBE.saved_after) * PROBE.steps * PROBE.robots,
            reset_num_timesteps=False,
        )
        return flat(model.policy)

    def load_and_train(
        self, script: Script, folder: Path, loaded: Callable[[], None]
    ) -> torch.Tensor:
        env = VecNormalize.load(str(folder / "statistics.pkl"), _Env(script))
        model = RecurrentPPO.load(folder / "model.zip", env=env, device="cpu")
        loaded()
        model.learn(
            (PROBE.iterations - PROBE.saved_after) * PROBE.steps * PROBE.robots,
            reset_num_timesteps=False,
        )
        return flat(model.policy)


class _Env(VecEnv):
    """The script as a VecEnv, over and over."""

    def __init__(self, script: Script) -> None:
        box = gymnasium.spaces.Box(-np.inf, np.inf, (PROBE.inputs,), np.float32)
        actions = gymnasium.spaces.Box(-1.0, 1.0, (PROBE.actions,), np.float32)
        super().__init__(PROBE.robots, box, actions)
        self.script, self.t = script, 0

    def reset(self) -> np.ndarray:
        self.t = 0
        return self.script.obs[0].numpy()

    def step_async(self, actions: np.ndarray) -> None: ...

    def step_wait(self) -> Any:
        s, t = self.script, self.t
        self.t = (t + 1) % PROBE.steps
        infos: list[dict[str, Any]] = [{} for _ in range(PROBE.robots)]
        for i in s.ended[t].nonzero().flatten().tolist():
            infos[i] = {
                "terminal_observation": s.final_obs[t, i].numpy().copy(),
                "TimeLimit.truncated": bool(s.truncated[t, i]),
            }
        return s.obs[t + 1].numpy(), s.rewards[t].numpy().copy(), s.ended[t].numpy(), infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * PROBE.robots

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        return [None] * PROBE.robots

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * PROBE.robots


class _Silent(BaseCallback):
    def _on_step(self) -> bool:
        return True


@contextlib.contextmanager
def _unrotated() -> Iterator[None]:
    """sb3-contrib begins its minibatches at a random sample; at the first one here."""
    original = np.random.randint
    np.random.randint = lambda *_: 0  # type: ignore[assignment]
    try:
        yield
    finally:
        np.random.randint = original


SUBJECT = Sb3Contrib()
