"""The `training` section: size, length, checkpoints and logs of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TrainingConfig:
    """The run."""

    num_envs: int = 4096
    """Robots simulated in parallel."""
    total_timesteps: int = 15_000_000_000
    """Environment steps (robots times control steps) of the run."""
    seed: int = 1
    """Seed of everything random in the run but the terrain."""
    cuda_graphs: bool = True
    """On a GPU, launch rollouts and optimizer steps as CUDA graphs, without Python between their operators."""
    log_dir: str = "logs"
    """Folder of the runs."""
    run_name: str = ""
    """Name of the run's folder; empty takes recipe, robot and time."""
    checkpoint_freq: int = 1_000_000
    """Environment steps between checkpoints."""
    keep_checkpoints: int = 5
    """Step checkpoints kept; older ones are deleted, latest, best and final never."""
    evaluation_freq: int = 0
    """Environment steps between evaluations that choose the best checkpoint; 0 takes `checkpoint_freq`."""
    evaluation_episodes: int = 64
    """Episodes of such an evaluation."""
    average_decay: float = 0.0
    """Decay per iteration of the running average of the policy's weights, which evaluations score_policy and
    `phase1_best.pth` holds; 0 takes the weights of the last iteration."""
    log_interval: int = 10
    """Iterations between rows of the console table."""
    wandb: str = "auto"
    """auto (only with an account set up), online, offline or disabled."""
    wandb_project: str = "legged_ppo"
    """Project of the wandb run."""
    report: bool = True
    """At the end evaluate the best checkpoint, draw the learning curves and render a video."""
    report_episodes: int = 256
    """Episodes of that evaluation."""
