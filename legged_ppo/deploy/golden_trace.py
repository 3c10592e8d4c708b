"""Golden trace: inputs and outputs of a policy over some steps, which any program can replay.

The file is a NumPy archive: each input and output of the graph [T, ...] under its own name, and `starts`
[T] bool, true where an episode starts: there `h_in` is zero, elsewhere the `h_out` of the step before.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import torch

from legged_ppo.config.schema import Config
from legged_ppo.deploy.metadata import ACTION, STATE_IN, STATE_OUT, TARGETS
from legged_ppo.deploy.network import DeployedNetwork
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy

STEPS, _RESTART = 200, 120
"""Steps of a trace, and the one in which a second episode starts at the latest."""
TOLERANCE = 1e-4
"""Largest difference of an output [rad, -] from the trace."""
Trace = dict[str, np.ndarray]
Call = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""One call of an exported graph: inputs by name to outputs by name, each with its batch of 1."""


def record_trace(
    policy: ActorCritic, network: DeployedNetwork, config: Config, seed: int = 0, steps: int = STEPS
) -> Trace:
    """Let the policy walk in its environment, and note what the graph would receive and return.

    The outputs are those of the policy as evaluations run it, not of `network`.
    """
    env = make_locomotion_env(config, 1, seed)
    obs = env.start_episodes_together()
    actor = RecurrentPolicy(policy, 1, env.device)
    rows: dict[str, list[np.ndarray]] = {}
    for step in range(steps):
        if step == _RESTART:
            obs = env.start_episodes_together()
            actor.restart()
        layers = policy.trunk.actor_layers
        before = torch.where(actor.starts[None, :, None], 0.0, actor.state[:layers])
        row = {name: obs[name].flatten(1) for name in network.groups} | {"starts": actor.starts[0]}
        clip = config.task.action_clip
        action = actor.act(obs).clamp(-clip, clip)
        row |= {
            ACTION: action,
            TARGETS: network.default_joint_pos + config.robot.action_scale * action,
        }
        if network.state_shape:
            row |= {STATE_IN: before, STATE_OUT: actor.state[:layers]}
        for name, value in row.items():
            rows.setdefault(name, []).append(value.numpy().copy())
        result = env.step(action)
        actor.note_ends(result)
        obs = result.obs
    return {name: np.stack(values) for name, values in rows.items()}


def replay_error(trace: Trace, call: Call) -> float:
    """Largest difference of an output from the trace, when the graph runs on its own recurrent state."""
    names = [name for name in trace if name not in (STATE_IN, STATE_OUT, TARGETS, ACTION, "starts")]
    memory, state, worst = STATE_IN in trace, None, 0.0
    for step, start in enumerate(trace["starts"]):
        inputs = {name: trace[name][step] for name in names}
        if memory:
            inputs[STATE_IN] = np.zeros_like(trace[STATE_IN][step]) if start else state
        outputs = call(inputs)
        state = outputs.get(STATE_OUT)
        worst = max(
            worst,
            *(float(np.abs(outputs[n] - trace[n][step]).max()) for n in outputs if n in trace),
        )
    return worst


def as_bytes(trace: Trace) -> bytes:
    """The NumPy archive."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **trace)  # type: ignore[arg-type]
    return buffer.getvalue()
