"""rsl_rl's PPO with GRUs."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict

from .script import PROBE, Findings, Minibatches, Script, flat


class RslRl:
    name = f"rsl_rl {version('rsl-rl-lib')}"

    def play(self, script: Script) -> Findings:
        algorithm = _runner(script).alg
        probe = torch.ones(1, PROBE.inputs)
        before = algorithm.actor.obs_normalizer(probe).clone()
        _collect(algorithm, script)
        moved = (algorithm.actor.obs_normalizer(probe) - before).abs().max()
        storage = algorithm.storage
        ids = torch.arange(PROBE.steps * PROBE.robots).view(PROBE.steps, PROBE.robots, 1)
        advantages = storage.advantages.squeeze(-1).clone()
        (whole,) = storage.recurrent_mini_batch_generator(1, 1)
        with torch.no_grad():
            algorithm.actor(
                whole.observations,
                masks=whole.masks,
                hidden_state=whole.hidden_states[0],
                stochastic_output=True,
            )
            new = algorithm.actor.get_output_log_prob(whole.actions)
            values = algorithm.critic(
                whole.observations, masks=whole.masks, hidden_state=whole.hidden_states[1]
            )
        error = (new - whole.old_actions_log_prob.squeeze(-1)).abs().max()
        storage.returns = ids.float()  # so that a minibatch holds the ids of its samples
        batches = list(storage.recurrent_mini_batch_generator(PROBE.minibatches, PROBE.epochs))
        named = [frozenset(b.returns.long().flatten().tolist()) for b in batches]
        epochs = [
            named[i * PROBE.minibatches : (i + 1) * PROBE.minibatches] for i in range(PROBE.epochs)
        ]
        return Findings(float(error), values.squeeze(-1), advantages, epochs, float(moved))

    def uneven(self) -> Minibatches:
        return self.play(Script.random()).minibatches

    def train_and_save(
        self, script: Script, folder: Path, saved: Callable[[], None]
    ) -> torch.Tensor:
        runner = _runner(script)
        runner.learn(PROBE.saved_after)
        runner.save(str(folder / "model.pt"))
        saved()
        runner.learn(PROBE.iterations - PROBE.saved_after)
        return flat(runner.alg.actor)

    def load_and_train(
        self, script: Script, folder: Path, loaded: Callable[[], None]
    ) -> torch.Tensor:
        runner = _runner(script)
        runner.load(str(folder / "model.pt"))
        loaded()
        runner.learn(PROBE.iterations - PROBE.saved_after)
        return flat(runner.alg.actor)


class _Env(VecEnv):
    """The script as a VecEnv, over and over."""

    num_envs, num_actions, device = PROBE.robots, PROBE.actions, "cpu"
    max_episode_length = PROBE.steps
    cfg: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, script: Script) -> None:
        self.script, self.t = script, 0
        self.episode_length_buf = torch.zeros(PROBE.robots, dtype=torch.long)

    def get_observations(self) -> TensorDict:
        return _packed(self.script.obs[self.t])

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict]:
        s, t = self.script, self.t
        self.t = (t + 1) % PROBE.steps
        time_outs = {"time_outs": s.truncated[t]}
        return _packed(s.obs[t + 1]), s.rewards[t].clone(), s.ended[t].long(), time_outs


def _runner(script: Script) -> OnPolicyRunner:
    torch.manual_seed(0)
    network = {
        "class_name": "RNNModel",
        "hidden_dims": [8],
        "rnn_type": "gru",
        "rnn_hidden_dim": PROBE.hidden,
        "obs_normalization": True,
    }
    gaussian = {"class_name": "GaussianDistribution", "init_std": 1.0}
    settings = {
        "num_steps_per_env": PROBE.steps,
        "save_interval": 100,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**network, "distribution_cfg": gaussian},
        "critic": dict(network),
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": PROBE.epochs,
            "num_mini_batches": PROBE.minibatches,
            "gamma": PROBE.gamma,
            "schedule": "adaptive",
            "normalize_advantage_per_mini_batch": True,  # leaves the stored ones as they are
        },
    }
    with contextlib.redirect_stdout(io.StringIO()):
        return OnPolicyRunner(_Env(script), settings)


def _collect(algorithm: Any, script: Script) -> None:
    """As the runner does."""
    with torch.inference_mode():
        for t in range(PROBE.steps):
            algorithm.act(_packed(script.obs[t]))
            algorithm.process_env_step(
                _packed(script.obs[t + 1]),
                script.rewards[t],
                script.ended[t].long(),
                {"time_outs": script.truncated[t]},
            )
        algorithm.compute_returns(_packed(script.obs[-1]))


def _packed(obs: torch.Tensor) -> TensorDict:
    return TensorDict({"policy": obs}, batch_size=[len(obs)])


SUBJECT = RslRl()
