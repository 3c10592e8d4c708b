"""skrl's PPO_RNN with GRUs.

A user of skrl writes the networks, and with them the reset inside a training sequence. The ones here reset at
every end that the agent passes to them; a failed probe is therefore the agent's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import skrl
import torch
from skrl.agents.torch.ppo import PPO_CFG, PPO_RNN
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.resources.schedulers.torch import KLAdaptiveLR
from skrl.trainers.torch import SequentialTrainer
from torch import nn

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

_OBSERVATIONS = gymnasium.spaces.Box(-np.inf, np.inf, (PROBE.inputs,), np.float32)
_ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (PROBE.actions,), np.float32)


class Skrl:
    name = f"skrl {version('skrl')}"

    def play(self, script: Script) -> Findings:
        return played_both_ways(partial(_played, script))

    def uneven(self) -> Minibatches:
        try:
            return _played(Script.random(), normalize=False, sequence=PROBE.steps).minibatches
        except RuntimeError as error:
            if "invalid for input of size" not in str(error):
                raise
            raise NotApplicableError(
                "its minibatches cut sequences, at which networks stop with an error"
            ) from None

    def train_and_save(
        self, script: Script, folder: Path, saved: Callable[[], None]
    ) -> torch.Tensor:
        agent = _agent(folder, checkpoint_interval=PROBE.saved_after * PROBE.steps, **_LEARNING)
        write = agent.write_checkpoint

        def write_checkpoint(*, timestep: int, timesteps: int) -> None:
            write(timestep=timestep, timesteps=timesteps)
            if timestep == PROBE.saved_after * PROBE.steps:
                saved()

        agent.write_checkpoint = write_checkpoint
        _train(agent, script, PROBE.iterations)
        return flat(agent.policy)

    def load_and_train(
        self, script: Script, folder: Path, loaded: Callable[[], None]
    ) -> torch.Tensor:
        agent = _agent(folder, **_LEARNING)
        (path,) = folder.glob(f"*/checkpoints/agent_{PROBE.saved_after * PROBE.steps}.pt")
        agent.load(str(path))
        loaded()
        _train(agent, script, PROBE.iterations - PROBE.saved_after)
        return flat(agent.policy)


class _Memory(Model):
    """A GRU, and a layer on it."""

    def __init__(self, outputs: int, sequence: int) -> None:
        Model.__init__(self, observation_space=_OBSERVATIONS, action_space=_ACTIONS, device="cpu")
        self.sequence = sequence
        self.gru, self.head = nn.GRU(PROBE.inputs, PROBE.hidden), nn.Linear(PROBE.hidden, outputs)

    def get_specification(self) -> dict[str, Any]:
        return {
            "rnn": {"sequence_length": self.sequence, "sizes": [(1, PROBE.robots, PROBE.hidden)]}
        }

    def advance(self, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs [B, outputs] and the state after them; what comes in is one step of all environments,
        or in training whole sequences, each with its states of every step."""
        obs, state = inputs["observations"], inputs["rnn"][0]
        if not self.training:
            hidden, state = self.gru(obs[None], state)
            return self.head(hidden[0]), state
        ended = (inputs["terminated"] | inputs["truncated"]).view(-1, self.sequence)
        state = state.view(1, -1, self.sequence, PROBE.hidden)[:, :, 0].contiguous()
        outputs = []
        for t, step in enumerate(obs.view(-1, self.sequence, PROBE.inputs).unbind(1)):
            hidden, state = self.gru(step[None], state)
            outputs.append(hidden[0])
            state = state * ~ended[:, t, None]
        return self.head(torch.stack(outputs, 1).flatten(0, 1)), state


class _Policy(GaussianMixin, _Memory):
    def __init__(self, sequence: int) -> None:
        _Memory.__init__(self, PROBE.actions, sequence)
        GaussianMixin.__init__(self)
        self.log_std = nn.Parameter(torch.zeros(PROBE.actions))

    def compute(self, inputs: dict[str, Any], role: str) -> tuple[torch.Tensor, dict[str, Any]]:
        mean, state = self.advance(inputs)
        return mean, {"log_std": self.log_std, "rnn": [state]}


class _Value(DeterministicMixin, _Memory):
    def __init__(self, sequence: int) -> None:
        _Memory.__init__(self, 1, sequence)
        DeterministicMixin.__init__(self)

    def compute(self, inputs: dict[str, Any], role: str) -> tuple[torch.Tensor, dict[str, Any]]:
        value, state = self.advance(inputs)
        return value, {"rnn": [state]}


class _Env(gymnasium.vector.VectorEnv):
    """The script as a Gymnasium VectorEnv, over and over."""

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012
    num_envs = PROBE.robots
    single_observation_space, single_action_space = _OBSERVATIONS, _ACTIONS
    observation_space = gymnasium.vector.utils.batch_space(_OBSERVATIONS, PROBE.robots)
    action_space = gymnasium.vector.utils.batch_space(_ACTIONS, PROBE.robots)

    def __init__(self, script: Script) -> None:
        self.script, self.t = script, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self.script.obs[0].numpy(), {}

    def step(self, actions: np.ndarray) -> Any:
        s, t = self.script, self.t
        self.t = (t + 1) % PROBE.steps
        final = np.full(PROBE.robots, None, dtype=object)
        for i in s.ended[t].nonzero().flatten().tolist():
            final[i] = s.final_obs[t, i].numpy()
        info = {"final_obs": final, "_final_obs": s.ended[t].numpy()}
        signals = (s.rewards[t], s.terminated[t], s.truncated[t])
        return s.obs[t + 1].numpy(), *(x.numpy().copy() for x in signals), info


_LEARNING: dict[str, Any] = {
    "normalize": True,
    "learning_rate": 1e-3,
    "learning_rate_scheduler": KLAdaptiveLR,
    "learning_rate_scheduler_kwargs": {"kl_threshold": 0.008},
}


def _agent(
    folder: Path,
    normalize: bool,
    sequence: int = PROBE.sequence,
    checkpoint_interval: int = 0,
    **settings: Any,
) -> PPO_RNN:
    skrl.logger.setLevel("ERROR")
    torch.manual_seed(0)
    if normalize:
        settings["observation_preprocessor"] = RunningStandardScaler
        settings["observation_preprocessor_kwargs"] = {"size": PROBE.inputs, "device": "cpu"}
    experiment = {
        "directory": str(folder),
        "write_interval": 0,
        "checkpoint_interval": checkpoint_interval,
    }
    return PPO_RNN(
        models={"policy": _Policy(sequence), "value": _Value(sequence)},
        memory=RandomMemory(memory_size=PROBE.steps, num_envs=PROBE.robots, device="cpu"),
        observation_space=_OBSERVATIONS,
        action_space=_ACTIONS,
        device="cpu",
        cfg=PPO_CFG(
            rollouts=PROBE.steps,
            learning_epochs=PROBE.epochs,
            mini_batches=PROBE.minibatches,
            discount_factor=PROBE.gamma,
            time_limit_bootstrap=True,
            experiment=experiment,
            **settings,
        ),
    )


def _train(agent: PPO_RNN, script: Script, iterations: int) -> None:
    env = wrap_env(_Env(script), wrapper="gymnasium", verbose=False)
    settings = {
        "timesteps": iterations * PROBE.steps,
        "headless": True,
        "disable_progressbar": True,
        "close_environment_at_exit": False,
    }
    SequentialTrainer(env=env, agents=agent, cfg=settings).train()


def _played(script: Script, normalize: bool, sequence: int = PROBE.sequence) -> Findings:
    """One iteration with a learning rate of 0, so that all of it is before the first optimizer step."""
    with tempfile.TemporaryDirectory() as folder:
        agent = _agent(Path(folder), normalize, sequence, learning_rate=0.0)
        policy_passes, value_passes = _listen(agent.policy), _listen(agent.value)
        probe = torch.ones(1, PROBE.inputs)
        before = agent._observation_preprocessor(probe)
        moved, update = [], agent.update

        def measured_update(**when: int) -> None:
            moved.append(float((agent._observation_preprocessor(probe) - before).abs().max()))
            update(**when)

        agent.update = measured_update
        _train(agent, script, 1)
    stored = agent.memory.get_tensor_by_name
    scalars = [stored(name).squeeze(-1) for name in ("log_prob", "values", "returns")]
    passes = [
        TrainingPass(
            inputs["taken_actions"], outputs["log_prob"].detach().squeeze(-1), values.squeeze(-1)
        )
        for (inputs, _, outputs), (_, values, _) in zip(policy_passes, value_passes, strict=True)
    ]
    return Rollout(stored("actions"), *scalars).findings(passes, moved[0])


def _listen(model: Model) -> list[tuple[Any, torch.Tensor, Any]]:
    """What goes into and comes out of the model in training, from now on."""
    heard, act = [], model.act

    def heard_act(inputs: dict[str, Any], *, role: str = "") -> Any:
        result, outputs = act(inputs, role=role)
        if model.training:
            heard.append(
                (inputs, result.detach(), {k: v for k, v in outputs.items() if k != "rnn"})
            )
        return result, outputs

    model.act = heard_act
    return heard


SUBJECT = Skrl()
