"""Recurrent PPO implementations behind one interface, for probes.py.

Each plays a script (the same observations, rewards and ends whatever it does) and shows what it makes of it.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from rsl_rl import algorithms as rsl_rl
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from tensordict import TensorDict

from legged_ppo.config.schema import PolicyConfig, PPOConfig
from legged_ppo.env.environment import Observations, StepResult
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.ppo.rollout_buffer import RolloutBuffer
from legged_ppo.ppo.update import PPO
from legged_ppo.training.collector import Collector

STEPS, ROBOTS, INPUTS, ACTIONS, HIDDEN = 12, 5, 4, 2, 16
EPOCHS, MINIBATCHES = 2, 2
GAMMA = 0.99


@dataclass
class Script:
    """T steps of N environments; `final_obs` is what an ending step really led to."""

    obs: torch.Tensor
    """[T + 1, N, 4]"""
    rewards: torch.Tensor
    """[T, N]"""
    terminated: torch.Tensor
    """[T, N] bool"""
    truncated: torch.Tensor
    """[T, N] bool"""
    final_obs: torch.Tensor
    """[T, N, 4]"""

    @classmethod
    def random(cls, seed: int = 0) -> Script:
        g = torch.Generator().manual_seed(seed)
        ends = torch.rand(STEPS, ROBOTS, generator=g) < 0.15
        limits = torch.rand(STEPS, ROBOTS, generator=g) < 0.5
        return cls(
            obs=torch.randn(STEPS + 1, ROBOTS, INPUTS, generator=g),
            rewards=torch.randn(STEPS, ROBOTS, generator=g),
            terminated=ends & ~limits,
            truncated=ends & limits,
            final_obs=torch.randn(STEPS, ROBOTS, INPUTS, generator=g),
        )

    @property
    def ended(self) -> torch.Tensor:
        return self.terminated | self.truncated

    def changed(self, **places: tuple[Any, float]) -> Script:
        """A copy in which 1 is added at these places: name=(index, amount)."""
        copies = {}
        for name, (index, amount) in places.items():
            copies[name] = getattr(self, name).clone()
            copies[name][index] += amount
        return replace(self, **copies)


@dataclass
class Findings:
    """What one rollout and the training pass over it showed."""

    ratio_error: float
    """largest |new - old log-probability| before the first optimizer step"""
    values: torch.Tensor
    """[T, N], of the training pass"""
    advantages: torch.Tensor
    """[T, N], not normalised"""
    minibatches: list[list[frozenset[int]]] = field(default_factory=list)
    """samples (t N + n) of every minibatch, by epoch"""
    normalizer_moved: float = 0.0
    """change of a normalised observation over the rollout"""


class Subject(Protocol):
    name: str

    def play(self, script: Script) -> Findings: ...

    def resumed(self, script: Script) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights after 4 iterations in one go, and after 2, save, load in a new process, 2."""
        ...


class Ours:
    name = "legged_ppo"

    def _make(self, script: Script) -> tuple[PPO, Collector, RolloutBuffer]:
        torch.manual_seed(0)
        config = PolicyConfig(gru_hidden=HIDDEN, actor_hidden=[8], scandots_latent=0)
        policy = ActorCritic({"observation": INPUTS}, ACTIONS, config)
        generator = torch.Generator().manual_seed(0)
        settings = PPOConfig(
            rollout_length=STEPS,
            bptt_length=STEPS,
            num_epochs=EPOCHS,
            num_minibatches=MINIBATCHES,
            gamma=GAMMA,
            normalize_advantages=False,
            schedule="adaptive",
        )
        ppo = PPO(policy, settings, generator)
        collector = Collector(_OurEnv(script), policy, generator, contextlib.nullcontext)
        buffer = RolloutBuffer(STEPS, STEPS, ROBOTS, ACTIONS, torch.device("cpu"))
        return ppo, collector, buffer

    def play(self, script: Script) -> Findings:
        ppo, collector, buffer = self._make(script)
        probe = {"observation": torch.ones(1, INPUTS)}
        before = ppo.policy.normalize(probe)["observation"]
        next_value, _ = collector.collect(buffer)
        moved = (ppo.policy.normalize(probe)["observation"] - before).abs().max()
        every = buffer.gather(torch.arange(ROBOTS))
        distribution, values = ppo.evaluate(every)
        error = (distribution.log_prob(every.actions) - every.log_probs).abs().max().detach()
        ppo._estimate_advantages(buffer, next_value)
        count = ppo.minibatches_per_epoch(buffer)
        epochs = [
            [_columns(ids) for ids in buffer.minibatch_ids(count, ppo._generator)]
            for _ in range(EPOCHS)
        ]
        return Findings(
            float(error), values.detach(), buffer.advantages.clone(), epochs, float(moved)
        )

    def resumed(self, script: Script) -> tuple[torch.Tensor, torch.Tensor]:
        def iterate(count: int, parts: tuple[PPO, Collector, RolloutBuffer]) -> None:
            ppo, collector, buffer = parts
            for _ in range(count):
                next_value, _ = collector.collect(buffer)
                ppo.update(buffer, next_value, 0.0)
                ppo.policy.commit_statistics()

        through, first, second = (self._make(script) for _ in range(3))
        iterate(4, through)
        iterate(2, first)
        # What a checkpoint of `Trainer` holds.
        second[0].policy.load_state_dict(first[0].policy.state_dict())
        second[0].load_state_dict(first[0].state_dict())
        second[1].load_state_dict(first[1].state_dict())
        second[0]._generator.set_state(first[0]._generator.get_state())
        iterate(2, second)
        return _flat(through[0].policy), _flat(second[0].policy)


class _OurEnv:
    """The script as an `Environment`, over and over."""

    device, num_envs, num_actions = torch.device("cpu"), ROBOTS, ACTIONS

    def __init__(self, script: Script) -> None:
        self.script, self.t = script, 0

    def reset(self) -> Observations:
        return {"observation": self.script.obs[0]}

    def step(self, actions: torch.Tensor) -> StepResult:
        s, t = self.script, self.t
        self.t = (t + 1) % STEPS
        obs = s.obs[t + 1]
        final = torch.where(s.ended[t][:, None], s.final_obs[t], obs)
        return StepResult(
            {"observation": obs},
            s.rewards[t],
            s.terminated[t],
            s.truncated[t],
            {"observation": final},
            {},
        )


class RslRl:
    name = "rsl_rl 5.5.1"

    def _make(self) -> Any:
        torch.manual_seed(0)
        network = {
            "class_name": "RNNModel",
            "hidden_dims": [8],
            "rnn_type": "gru",
            "rnn_hidden_dim": HIDDEN,
            "obs_normalization": True,
        }
        gaussian = {"class_name": "GaussianDistribution", "init_std": 1.0}
        settings = {
            "num_steps_per_env": STEPS,
            "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
            "actor": {**network, "distribution_cfg": gaussian},
            "critic": dict(network),
            "algorithm": {
                "class_name": "PPO",
                "num_learning_epochs": EPOCHS,
                "num_mini_batches": MINIBATCHES,
                "gamma": GAMMA,
                "schedule": "adaptive",
                "normalize_advantage_per_mini_batch": True,  # leaves the stored ones as they are
            },
            "multi_gpu": None,
        }
        env = SimpleNamespace(num_envs=ROBOTS, num_actions=ACTIONS, device="cpu")
        with contextlib.redirect_stdout(io.StringIO()):
            return rsl_rl.PPO.construct_algorithm(
                _packed(torch.zeros(ROBOTS, INPUTS)), env, settings, "cpu"
            )

    def _collect(self, algorithm: Any, script: Script) -> None:
        with torch.inference_mode():
            for t in range(STEPS):
                algorithm.act(_packed(script.obs[t]))
                algorithm.process_env_step(
                    _packed(script.obs[t + 1]),
                    script.rewards[t],
                    script.ended[t].long(),
                    {"time_outs": script.truncated[t]},
                )
            algorithm.compute_returns(_packed(script.obs[-1]))

    def play(self, script: Script) -> Findings:
        algorithm = self._make()
        probe = torch.ones(1, INPUTS)
        before = algorithm.actor.obs_normalizer(probe).clone()
        self._collect(algorithm, script)
        moved = (algorithm.actor.obs_normalizer(probe) - before).abs().max()
        storage = algorithm.storage
        ids = torch.arange(STEPS * ROBOTS).view(STEPS, ROBOTS, 1)
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
        storage.returns = ids.float()  # so that a minibatch tells which samples it holds
        batches = list(storage.recurrent_mini_batch_generator(MINIBATCHES, EPOCHS))
        named = [frozenset(b.returns.long().flatten().tolist()) for b in batches]
        epochs = [named[i * MINIBATCHES : (i + 1) * MINIBATCHES] for i in range(EPOCHS)]
        return Findings(float(error), values.squeeze(-1), advantages, epochs, float(moved))

    def resumed(self, script: Script) -> tuple[torch.Tensor, torch.Tensor]:
        def iterate(count: int, algorithm: Any) -> None:
            for _ in range(count):
                self._collect(algorithm, script)
                algorithm.update()

        through = self._make()
        iterate(4, through)
        first = self._make()
        iterate(2, first)
        saved = first.save()
        second = self._make()  # seeds as a new process would
        second.load(saved, None, True)
        iterate(2, second)
        return _flat(through.actor), _flat(second.actor)


class Sb3Contrib:
    name = "sb3-contrib 2.9.2"

    def _make(self, script: Script) -> RecurrentPPO:
        env = VecNormalize(_Sb3Env(script), norm_reward=False)
        return RecurrentPPO(
            "MlpLstmPolicy",
            env,
            n_steps=STEPS,
            batch_size=STEPS * ROBOTS // MINIBATCHES - 1,  # which does not divide the rollout
            n_epochs=EPOCHS,
            gamma=GAMMA,
            seed=0,
            device="cpu",
            policy_kwargs={"lstm_hidden_size": HIDDEN, "net_arch": [8]},
        )

    def play(self, script: Script) -> Findings:
        model = self._make(script)
        _, callback = model._setup_learn(10**6, _Silent())
        env = model.get_vec_normalize_env()
        assert env is not None
        env.training = (
            False  # or a changed observation would reach all later ones through the statistics
        )
        model.collect_rollouts(model.env, callback, model.rollout_buffer, STEPS)
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
        ids = np.arange(STEPS * ROBOTS).reshape(STEPS, ROBOTS, 1)
        buffer.returns = buffer.swap_and_flatten(ids.astype(np.float32))
        epochs = [
            [
                frozenset(b.returns[b.mask > 0.5].long().tolist())
                for b in buffer.get(model.batch_size)
            ]
            for _ in range(EPOCHS)
        ]
        by_robot = values.flatten()[mask].view(ROBOTS, STEPS)
        moved = self._normalizer_movement(script)
        return Findings(float(error), by_robot.T, advantages, epochs, moved)

    def _normalizer_movement(self, script: Script) -> float:
        model = self._make(script)
        _, callback = model._setup_learn(10**6, _Silent())
        env = model.get_vec_normalize_env()
        assert env is not None
        probe = np.ones((1, INPUTS), dtype=np.float32)
        before = env.normalize_obs(probe)
        model.collect_rollouts(model.env, callback, model.rollout_buffer, STEPS)
        return float(np.abs(env.normalize_obs(probe) - before).max())

    def resumed(self, script: Script) -> tuple[torch.Tensor, torch.Tensor]:
        per_iteration = STEPS * ROBOTS
        through, first = self._make(script), self._make(script)
        through.learn(4 * per_iteration)
        first.learn(2 * per_iteration)
        with tempfile.TemporaryDirectory() as folder:
            first.save(Path(folder) / "model.zip")
            statistics = first.get_vec_normalize_env()
            assert statistics is not None
            statistics.save(str(Path(folder) / "statistics.pkl"))
            fresh = self._make(script)  # seeds as a new process would
            env = VecNormalize.load(str(Path(folder) / "statistics.pkl"), fresh.env.venv)
            second = RecurrentPPO.load(Path(folder) / "model.zip", env=env, device="cpu")
        second.learn(2 * per_iteration, reset_num_timesteps=False)
        return _flat(through.policy), _flat(second.policy)


class _Sb3Env(VecEnv):
    """The script as a VecEnv, over and over."""

    def __init__(self, script: Script) -> None:
        box = gymnasium.spaces.Box(-np.inf, np.inf, (INPUTS,), np.float32)
        actions = gymnasium.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)
        super().__init__(ROBOTS, box, actions)
        self.script, self.t = script, 0

    def reset(self) -> np.ndarray:
        self.t = 0
        return self.script.obs[0].numpy()

    def step_async(self, actions: np.ndarray) -> None: ...

    def step_wait(self) -> Any:
        s, t = self.script, self.t
        self.t = (t + 1) % STEPS
        infos: list[dict[str, Any]] = [{} for _ in range(ROBOTS)]
        for i in s.ended[t].nonzero().flatten().tolist():
            infos[i] = {
                "terminal_observation": s.final_obs[t, i].numpy().copy(),
                "TimeLimit.truncated": bool(s.truncated[t, i]),
            }
        return s.obs[t + 1].numpy(), s.rewards[t].numpy().copy(), s.ended[t].numpy(), infos

    def close(self) -> None: ...

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * ROBOTS

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None: ...

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        return [None] * ROBOTS

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * ROBOTS


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


def _packed(obs: torch.Tensor) -> TensorDict:
    return TensorDict({"policy": obs}, batch_size=[len(obs)])


def _columns(robots: torch.Tensor) -> frozenset[int]:
    """All samples of these robots."""
    return frozenset((torch.arange(STEPS)[:, None] * ROBOTS + robots).flatten().tolist())


def _flat(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


SUBJECTS: list[Subject] = [Ours(), RslRl(), Sb3Contrib()]
