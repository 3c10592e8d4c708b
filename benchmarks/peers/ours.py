"""legged_ppo."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from legged_ppo.algorithms.collector import Collector
from legged_ppo.algorithms.ppo import PPO
from legged_ppo.algorithms.rollout_buffer import RolloutBuffer
from legged_ppo.config.schema import Config, PolicyConfig, PPOConfig, TrainingConfig
from legged_ppo.interface import Environment, Observations, StepResult
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runs.checkpoint import checkpoint_config, load_checkpoint
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.trainer import Trainer

from .script import PROBE, Findings, Minibatches, Script, flat

_POLICY = PolicyConfig(gru_hidden=PROBE.hidden, actor_hidden=[8], scandots_latent=0)
_PPO = PPOConfig(
    rollout_length=PROBE.steps,
    bptt_length=PROBE.steps,
    num_epochs=PROBE.epochs,
    num_minibatches=PROBE.minibatches,
    gamma=PROBE.gamma,
    normalize_advantages=False,
    schedule="adaptive",
)
_SAMPLES = PROBE.steps * PROBE.robots
_RUN = "probe"


class Ours:
    name = "legged_ppo"

    def play(self, script: Script) -> Findings:
        torch.manual_seed(0)
        policy = ActorCritic({"observation": PROBE.inputs}, PROBE.actions, _POLICY)
        generator = torch.Generator().manual_seed(0)
        ppo = PPO(policy, _PPO, generator)
        collector = Collector(_Env(script), policy, generator, contextlib.nullcontext)
        buffer = RolloutBuffer(
            PROBE.steps, PROBE.steps, PROBE.robots, PROBE.actions, torch.device("cpu")
        )
        probe = {"observation": torch.ones(1, PROBE.inputs)}
        before = policy.normalize(probe)["observation"]
        next_value, _ = collector.collect(buffer)
        moved = (policy.normalize(probe)["observation"] - before).abs().max()
        every = buffer.gather(torch.arange(PROBE.robots))
        distribution, values = ppo.evaluate(every)
        error = (distribution.log_prob(every.actions) - every.log_probs).abs().max().detach()
        ppo.estimate_advantages(buffer, next_value)
        count = ppo.minibatches_per_epoch(buffer)
        epochs = [
            [_columns(ids) for ids in buffer.minibatch_ids(count, generator)]
            for _ in range(PROBE.epochs)
        ]
        return Findings(
            float(error), values.detach(), buffer.advantages.clone(), epochs, float(moved)
        )

    def uneven(self) -> Minibatches:
        return self.play(Script.random()).minibatches

    def train_and_save(
        self, script: Script, folder: Path, saved: Callable[[], None]
    ) -> torch.Tensor:
        training = TrainingConfig(
            num_envs=PROBE.robots,
            total_timesteps=PROBE.iterations * _SAMPLES,
            checkpoint_freq=PROBE.saved_after * _SAMPLES,
            log_dir=str(folder),
            run_name=_RUN,
            wandb="disabled",
        )
        config = Config(policy=_POLICY, ppo=_PPO, training=training)
        run = RunDirectory.create(config, "")
        return _trained(Trainer(config, _Env(script), run, scorer=None))

    def load_and_train(
        self, script: Script, folder: Path, loaded: Callable[[], None]
    ) -> torch.Tensor:
        path = folder / _RUN / "checkpoints" / f"phase1_step_{PROBE.saved_after * _SAMPLES}.pth"
        checkpoint = load_checkpoint(path)
        config = checkpoint_config(checkpoint, path)
        run = RunDirectory.of_checkpoint(path)
        assert run is not None
        trainer = Trainer(config, _Env(script), run, checkpoint, scorer=None)
        loaded()
        return _trained(trainer)


class _Env(Environment):
    """The script as an `Environment`, over and over."""

    device, num_envs, num_actions = torch.device("cpu"), PROBE.robots, PROBE.actions
    obs_dims = {"observation": PROBE.inputs}  # noqa: RUF012
    episode_metrics, step_metrics = ["count", "return", "length"], ["reward"]

    def __init__(self, script: Script) -> None:
        self.script, self.t = script, 0

    def reset(self) -> Observations:
        return {"observation": self.script.obs[0]}

    def step(self, actions: torch.Tensor) -> StepResult:
        s, t = self.script, self.t
        self.t = (t + 1) % PROBE.steps
        obs = s.obs[t + 1]
        final = torch.where(s.ended[t][:, None], s.final_obs[t], obs)
        return StepResult(
            {"observation": obs},
            s.rewards[t],
            s.terminated[t],
            s.truncated[t],
            {"observation": final},
            {"episode": torch.zeros(3), "step": s.rewards[t].sum()[None]},
        )

    def state_dict(self) -> dict[str, Any]:
        return {"t": self.t}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.t = state["t"]


def _trained(trainer: Trainer) -> torch.Tensor:
    with contextlib.redirect_stdout(io.StringIO()):
        assert trainer.train()
    return flat(trainer.policy)


def _columns(robots: torch.Tensor) -> frozenset[int]:
    """All samples of these robots."""
    return frozenset(
        (torch.arange(PROBE.steps)[:, None] * PROBE.robots + robots).flatten().tolist()
    )


SUBJECT = Ours()
