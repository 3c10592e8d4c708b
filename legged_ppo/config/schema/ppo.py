"""The `ppo` section: the learning algorithm."""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.config.schema.bounds import not_negative, one_of, open_share, positive, share


@dataclass
class PPOConfig:
    """Proximal policy optimisation (Schulman et al., 2017) with truncated BPTT."""

    rollout_length: int = positive(24, most=10**6)
    """Control steps per robot and iteration."""
    bptt_length: int = positive(24, most=10**6)
    """Steps of back-propagation through time; divides `rollout_length`."""
    num_epochs: int = positive(5, most=1000)
    """Passes over the rollout."""
    num_minibatches: int = positive(4, most=10**6)
    """Minibatches per epoch; used when `sequences_per_minibatch` is 0."""
    sequences_per_minibatch: int = not_negative(0)
    """Chunks of `bptt_length` steps in a minibatch, or about as many where the rollout does not divide;
    0 leaves it to `num_minibatches`."""
    gradient_accumulation: int = positive(1, most=10**6)
    """Parts into which a minibatch is split to save memory; the gradient is the same."""
    gamma: float = open_share(0.99)
    """Discount per control step."""
    gae_lambda: float = share(0.95)
    """Lambda of generalised advantage estimation."""
    clip_range: float = positive(0.2)
    """Clip of the probability ratio."""
    value_clip_range: float | None = positive(0.2)
    """Clip of the value's change, in units of the reward; null switches it off."""
    value_coef: float = not_negative(0.5)
    """Weight of the value loss."""
    entropy_coef: float = not_negative(0.01)
    """Weight of the entropy bonus at the start."""
    entropy_coef_final: float | None = not_negative(None)
    """Weight at the end, reached linearly; null keeps it constant."""
    max_grad_norm: float = positive(1.0)
    """Clip of the gradient's norm."""
    learning_rate: float = positive(3e-4)
    """Learning rate at the start."""
    schedule: str = one_of("cosine", "linear", "constant", "adaptive")
    """cosine (to `final_lr_fraction`), linear (to the same), constant or adaptive (by KL)."""
    final_lr_fraction: float = share(0.1)
    """Learning rate at the end as a share of that at the start."""
    desired_kl: float = positive(0.01)
    """KL divergence that the adaptive schedule aims at, at the start."""
    desired_kl_final: float | None = positive(None)
    """The same at the end, reached linearly; null keeps it constant."""
    target_kl: float | None = positive(None)
    """Stop the epochs of an update when an epoch's mean KL exceeds this; null never stops."""
    weight_decay: float = not_negative(0.0)
    """AdamW's decoupled weight decay of the weight matrices."""
    normalize_advantages: bool = True
    """Advantages to mean 0 and standard deviation 1 over the whole rollout."""
    symmetry: str = one_of("none", "augmentation", "loss", "equivariant")
    """Use of left-right symmetry: none; loss (every robot has a mirrored copy with a memory of its own, and the
    policy's actions for it are drawn to the mirrored ones for the robot); augmentation (both are learned from
    as well); or equivariant (the policy commutes with the mirror exactly, at no cost)."""
    symmetry_coef: float = not_negative(0.5)
    """Weight of that loss, in loss and augmentation."""
    precision: str = one_of("float32", "tf32", "bfloat16")
    """Of the network, in rollout and update alike: float32, tf32 (float32 whose products a GPU rounds to 10
    bits first) or bfloat16."""

    @property
    def mirrored_copies(self) -> bool:
        """Whether every robot has a mirrored copy that the policy sees and acts for."""
        return self.symmetry in ("augmentation", "loss")
