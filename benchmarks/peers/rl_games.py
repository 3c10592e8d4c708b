"""rl_games' continuous A2CAgent (its PPO) with a GRU."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from rl_games.algos_torch.a2c_continuous import A2CAgent
from rl_games.common.algo_observer import AlgoObserver
from rl_games.common.ivecenv import IVecEnv
from rl_games.torch_runner import Runner

from .script import (
    PROBE,
    Findings,
    Minibatches,
    NotApplicableError,
    Rollout,
    Script,
    TrainingPass,
    flat,
    played_both_ways,
)

_RUN = "probe"


class RlGames:
    name = f"rl_games {version('rl-games')}"

    def play(self, script: Script) -> Findings:
        return played_both_ways(partial(_played, script))

    def uneven(self) -> Minibatches:
        try:
            return _played(Script.random(), normalize=False, sequence=PROBE.steps).minibatches
        except ValueError as error:
            if "must be divisible" not in str(error):
                raise
            raise NotApplicableError("it refuses such settings with an error") from None

    def train_and_save(
        self, script: Script, folder: Path, saved: Callable[[], None]
    ) -> torch.Tensor:
        agent = _agent(script, folder, save_frequency=PROBE.saved_after, **_LEARNING)
        save = agent.save

        def heard_save(path: str) -> None:
            save(path)
            if agent.epoch_num == PROBE.saved_after:
                saved()

        agent.save = heard_save
        _train(agent)
        return flat(agent.model)

    def load_and_train(
        self, script: Script, folder: Path, loaded: Callable[[], None]
    ) -> torch.Tensor:
        agent = _agent(script, folder, **_LEARNING)
        (path,) = (folder / _RUN / "nn").glob(f"last_*_ep_{PROBE.saved_after}_*.pth")
        with contextlib.redirect_stdout(io.StringIO()):
            agent.restore(str(path))
        loaded()
        _train(agent)
        return flat(agent.model)


class _Env(IVecEnv):
    """The script as an IVecEnv, over and over."""

    def __init__(self, script: Script) -> None:
        self.script, self.t = script, 0

    def reset(self) -> torch.Tensor:
        return self.script.obs[0]

    def step(self, actions: torch.Tensor) -> Any:
        s, t = self.script, self.t
        self.t = (t + 1) % PROBE.steps
        infos = {"time_outs": s.truncated[t]}
        return s.obs[t + 1], s.rewards[t].clone(), s.ended[t], infos


_LEARNING: dict[str, Any] = {
    "normalize": True,
    "learning_rate": 1e-3,
    "lr_schedule": "adaptive",
    "kl_threshold": 0.008,
    "max_epochs": PROBE.iterations,
}


def _agent(
    script: Script, folder: Path, normalize: bool, sequence: int = PROBE.sequence, **settings: Any
) -> A2CAgent:
    """As its Runner makes it, without compiling the network."""
    initializer = {"name": "default"}
    gaussian = {
        "mu_activation": "None",
        "mu_init": initializer,
        "sigma_activation": "None",
        "sigma_init": {"name": "const_initializer", "val": 0.0},
        "fixed_sigma": True,
    }
    network = {
        "name": "actor_critic",
        "separate": False,
        "space": {"continuous": gaussian},
        "mlp": {"units": [8], "activation": "elu", "initializer": initializer},
        "rnn": {"name": "gru", "units": PROBE.hidden, "layers": 1},
    }
    spaces = {
        "observation_space": gymnasium.spaces.Box(-np.inf, np.inf, (PROBE.inputs,), np.float32),
        "action_space": gymnasium.spaces.Box(-1.0, 1.0, (PROBE.actions,), np.float32),
    }
    config = {
        "name": _RUN,
        "full_experiment_name": _RUN,
        "train_dir": str(folder),
        "env_name": _RUN,
        "env_info": spaces,
        "vec_env": _Env(script),
        "device": "cpu",
        "num_actors": PROBE.robots,
        "horizon_length": PROBE.steps,
        "seq_length": sequence,
        "minibatch_size": PROBE.steps * PROBE.robots // PROBE.minibatches,
        "mini_epochs": PROBE.epochs,
        "gamma": PROBE.gamma,
        "tau": 0.95,
        "value_bootstrap": True,
        "normalize_input": normalize,
        "normalize_value": False,
        "normalize_advantage": True,
        "reward_shaper": {"scale_value": 1.0},
        "truncate_grads": True,
        "grad_norm": 1.0,
        "ppo": True,
        "e_clip": 0.2,
        "clip_value": False,
        "critic_coef": 1.0,
        "entropy_coef": 0.0,
        "bounds_loss_coef": 0.0,
        "print_stats": False,
        **settings,
    }
    params = {
        "seed": 1,
        "torch_threads": 1,
        "algo": {"name": "a2c_continuous"},
        "model": {"name": "continuous_a2c_logstd"},
        "network": network,
        "config": config,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        runner = Runner(AlgoObserver())
        runner.load({"params": params})
        return runner.algo_factory.create(runner.algo_name, base_name="run", params=runner.params)


def _train(agent: A2CAgent) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        agent.train()


def _played(script: Script, normalize: bool, sequence: int = PROBE.sequence) -> Findings:
    """One iteration with a learning rate of 0, so that all of it is before the first optimizer step."""
    constant = {"learning_rate": 0.0, "lr_schedule": None, "max_epochs": 1}
    passes: list[TrainingPass] = []
    rollouts: list[tuple[dict[str, torch.Tensor], float]] = []
    with tempfile.TemporaryDirectory() as folder:
        agent = _agent(script, Path(folder), normalize, sequence, **constant)
        play_steps, probe = agent.play_steps_rnn, torch.ones(1, PROBE.inputs)

        def heard_play_steps() -> dict[str, Any]:
            before = agent.model.norm_obs(probe)
            batch = play_steps()
            moved = float((agent.model.norm_obs(probe) - before).abs().max())
            rollouts.append((dict(batch), moved))
            return batch

        def hear_pass(_: Any, inputs: tuple[dict[str, Any]], outputs: dict[str, Any]) -> None:
            if inputs[0]["is_train"]:
                log_probs, values = -outputs["prev_neglogp"], outputs["values"].squeeze(-1)
                passes.append(
                    TrainingPass(inputs[0]["prev_actions"], log_probs.detach(), values.detach())
                )

        agent.play_steps_rnn = heard_play_steps
        agent.model.register_forward_hook(hear_pass)
        _train(agent)
    batch, moved = rollouts[0]
    by_step = {
        name: batch[name].view(PROBE.robots, PROBE.steps, -1).transpose(0, 1).contiguous()
        for name in ("actions", "neglogpacs", "values", "returns")
    }
    rollout = Rollout(
        by_step["actions"],
        -by_step["neglogpacs"].squeeze(-1),
        by_step["values"].squeeze(-1),
        by_step["returns"].squeeze(-1),
    )
    return rollout.findings(passes, moved)


SUBJECT = RlGames()
