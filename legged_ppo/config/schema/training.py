"""The `training` section: size, length, checkpoints and logs of a run."""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.config.schema.bounds import bounded, names, not_negative, one_of, positive


@dataclass
class TrainingConfig:
    """The run."""

    num_envs: int = positive(4096, most=10**7)
    """Robots simulated in parallel."""
    total_timesteps: int = positive(15_000_000_000)
    """Environment steps (robots times control steps) of the run."""
    seed: int = not_negative(1, most=2**32 - 1)
    """Seed of everything random in the run but the terrain."""
    cuda_graphs: bool = False
    """On a GPU, launch rollouts and optimizer steps as CUDA graphs, without Python between their operators."""
    fused_gru: bool = True
    """On a GPU, compute all steps of a float32 GRU of up to 128 units in one kernel, and their gradients in
    another; false leaves them to torch's operators. The network is the same: resumes and evaluations may change
    it."""
    log_dir: str = "logs"
    """Folder of the runs."""
    run_name: str = ""
    """Name of the run's folder; empty takes recipe, robot, seed and time."""
    checkpoint_freq: int = positive(1_000_000)
    """Environment steps between checkpoints."""
    keep_checkpoints: int = positive(5)
    """Step checkpoints kept; older ones are deleted, latest, best and final never."""
    evaluation_freq: int = not_negative(0)
    """Environment steps between evaluations that choose the best checkpoint; 0 takes `checkpoint_freq`."""
    evaluation_episodes: int = positive(64, most=10**6)
    """Episodes of such an evaluation."""
    average_decay: float = bounded(0.0, lambda x: 0 <= x < 1, "a number from 0 to below 1")
    """Decay per iteration of the running average of the policy's weights, which evaluations score
    and `phase1_best.pth` holds; 0 takes the weights of the last iteration."""
    callbacks: list[str] = names([])
    """Callbacks of the extensions, by name, called in this order."""
    log_interval: int = positive(10)
    """Iterations between rows of the console table."""
    tracker: str = one_of("wandb", "trackio", "none")
    """Dashboard beside TensorBoard: wandb (where `wandb` switches it on), trackio (local) or none."""
    wandb: str = one_of("auto", "online", "offline", "disabled")
    """auto (only with an account set up), online, offline or disabled."""
    wandb_project: str = "legged_ppo"
    """Project of the run in wandb or trackio."""
    tracker_checkpoints: str = one_of("best", "all", "none")
    """Checkpoints that the tracker keeps as artifacts: best (each new best policy), all (the whole state at every
    checkpoint as well) or none."""
    report: bool = True
    """At the end evaluate the best checkpoint, draw the learning curves and render a video."""
    report_episodes: int = positive(256, most=10**6)
    """Episodes of that evaluation."""
