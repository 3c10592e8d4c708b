"""Run by torchrun from test_distributed.py: updates of each rank's half of a rollout, and of the whole.

torchrun --nproc_per_node=2 tests/support/halved_update.py FOLDER
"""

import copy
import sys
from pathlib import Path
from typing import Any

import torch

from legged_ppo.algorithms.ppo import PPO
from legged_ppo.algorithms.rollout_buffer import RolloutBuffer
from legged_ppo.config.schema import PolicyConfig, PPOConfig
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runtime import distributed

T, N, ACTIONS, WIDTH = 8, 12, 3, 5
UPDATES = 5
FIELDS = [
    "starts",
    "actions",
    "log_probs",
    "values",
    "rewards",
    "final_values",
    "terminated",
    "truncated",
]


def whole_rollout(policy: ActorCritic, seed: int) -> tuple[RolloutBuffer, torch.Tensor]:
    """T steps of N environments that the policy could have made, and the next values [N]."""
    g = torch.Generator().manual_seed(seed)
    buffer = RolloutBuffer(T, T, N, ACTIONS, torch.device("cpu"))
    state = policy.initial_state(N, buffer.device)
    for t in range(T):
        starts = torch.rand(N, generator=g) < 0.2
        raw = {"proprioception": 3.0 + 2.0 * torch.randn(N, WIDTH, generator=g)}
        obs = policy.normalize(raw, observe=True)
        buffer.store_inputs(t, obs, state, starts)
        distribution, values, state = policy.step(obs, state, starts)
        actions = distribution.sample(g)
        buffer.store_action(t, actions, distribution.log_prob(actions), values)
        ends = torch.rand(2, N, generator=g) < 0.1
        reward = torch.arange(N) + torch.randn(N, generator=g)  # differs between the halves
        buffer.store_outcome(t, reward, ends[0], ends[1] & ~ends[0], torch.randn(N, generator=g))
    return buffer, torch.randn(N, generator=g)


def part_of(whole: RolloutBuffer, robots: slice) -> RolloutBuffer:
    count = len(range(N)[robots])
    part = RolloutBuffer(T, T, count, ACTIONS, whole.device)
    part.obs.update({name: group[:, robots] for name, group in whole.obs.items()})
    assert whole.states is not None
    part.states = whole.states[:, :, robots]
    for name in FIELDS:
        getattr(part, name).copy_(getattr(whole, name)[:, robots])
    return part


def update(ppo: PPO, robots: slice, seed: int) -> dict[str, Any]:
    """One update of these environments of a rollout; what it leaves."""
    policy = ppo.policy
    with torch.no_grad():
        whole, next_value = whole_rollout(policy, seed)
    if policy.normalizer is not None:
        policy.normalizer.pending.zero_()
    policy.normalize({"proprioception": whole.obs["proprioception"][0, robots]}, observe=True)
    metrics = ppo.update(part_of(whole, robots), next_value[robots], progress=0.0)
    policy.apply_normalization()
    averaged = ("Loss/surrogate", "Loss/value", "Policy/approx_kl", "Loss/learning_rate")
    figures = {name: metrics[name] for name in averaged} | {"robots": len(range(N)[robots])}
    return {
        "gradients": [p.grad for p in policy.parameters()],
        "statistics": dict(policy.normalizer.named_buffers()) if policy.normalizer else {},
        "learning_rate": metrics["Loss/learning_rate"],
        "metrics": distributed.reduced(figures, ("robots",), torch.device("cpu")),
    }


def main(folder: Path) -> None:
    with distributed.process_group():
        rank, ranks = distributed.rank(), distributed.world_size()
        robots = slice(rank * N // ranks, (rank + 1) * N // ranks)
        torch.manual_seed(0)
        dims = {"proprioception": WIDTH}
        policy = ActorCritic(
            dims, ACTIONS, PolicyConfig(gru_hidden=16, actor_hidden=[8], scandots_latent=0)
        )
        config = PPOConfig(
            rollout_length=T, bptt_length=T, num_epochs=2, num_minibatches=1, schedule="adaptive"
        )
        ppo = PPO(policy, config, torch.Generator().manual_seed(1))
        results = [copy.deepcopy(update(ppo, robots, 5 + i)) for i in range(UPDATES)]
        torch.save(results, folder / f"{ranks}_{rank}.pt")
    # A thread of gloo that outlives the group can abort the process as the interpreter ends.
    names = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    assert not any("gloo" in name for name in names), names


if __name__ == "__main__":
    main(Path(sys.argv[1]))
