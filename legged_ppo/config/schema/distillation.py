"""The `distillation` section: Phase 2, in which a student learns from a teacher what it does."""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.config.schema.bounds import not_negative, one_of, open_share, positive, share


@dataclass
class DistillationConfig:
    """DAgger (Ross et al., 2011), then PPO from the student; read by train_phase2.py alone.

    Windows are rollouts of `ppo.rollout_length` steps, back-propagated through `ppo.bptt_length` of them.
    """

    steps: int = positive(6_000_000)
    """Environment steps of the distillation; the rest of `training.total_timesteps` is fine-tuning with PPO."""
    teacher_share: float = share(1.0)
    """Share of the robots in which the teacher acts at the start; they are drawn anew in every window."""
    teacher_share_until: float = open_share(0.25)
    """Share of the distillation after which the student alone acts; the teacher's part falls linearly until
    then."""
    stochastic: bool = True
    """Sample the actions, by the teacher's standard deviation, instead of taking the mean."""
    loss: str = one_of("mse", "huber")
    """Distance of the student's mean action from the teacher's: squared, or linear beyond 1."""
    reconstruction_coef: float = not_negative(0.0)
    """Weight of a second loss, the squared error of the scandots computed from the student's features by a linear
    layer that is dropped after the distillation; 0 learns from actions alone."""
    num_epochs: int = positive(2, most=1000)
    """Passes over a window."""
    num_minibatches: int = positive(4, most=10**6)
    """Minibatches per pass, of all chunks of some robots."""
    learning_rate: float = positive(1e-3)
    """Learning rate of AdamW at the start, which falls as a cosine."""
    final_lr_fraction: float = share(0.1)
    """Learning rate at the end of the distillation as a share of that at the start."""
    weight_decay: float = not_negative(0.0)
    """AdamW's decoupled weight decay of the weight matrices."""
    max_grad_norm: float = positive(1.0)
    """Clip of the gradient's norm."""
    freeze_base: bool = False
    """Keep the teacher's action MLP and head as they are (the base policy of RMA)."""
    critic_warmup: int = not_negative(500_000)
    """Environment steps at the start of the fine-tuning in which the critic learns and the actor is frozen."""
