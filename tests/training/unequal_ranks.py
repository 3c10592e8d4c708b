"""Run by torchrun from test_distributed.py: trainers whose ranks are given other weights.

torchrun --nproc_per_node=2 tests/training/unequal_ranks.py FOLDER
"""

import copy
import sys
from pathlib import Path

import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime import distributed
from legged_ppo.training.trainer import Trainer


def main(folder: Path) -> None:
    with distributed.process_group():
        rank = distributed.rank()
        config = load_config(
            CONFIG_DIR / "phase1_quickstart.yaml",
            ["+preset=debug", "terrain=flat", "ppo.symmetry=none"],  # weights stay as they are
        )
        env = make_locomotion_env(config, 2, seed=rank)
        policy = ActorCritic(env.obs_dims, env.num_actions, config.policy)
        weights = {name: value + rank for name, value in policy.state_dict().items()}
        before = copy.deepcopy(weights)
        trainer = Trainer(config, env, RunDirectory(folder), weights=weights, scorer=None)
        torch.save({"before": before, "after": trainer.policy.state_dict()}, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
