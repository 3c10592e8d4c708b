"""The `policy` section: the recurrent actor-critic."""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.config.schema.bounds import not_negative, one_of, positive, widths


@dataclass
class PolicyConfig:
    """The recurrent actor-critic."""

    architecture: str = one_of("monolithic", "rma")
    """monolithic (one GRU over everything) or rma (a GRU over the terrain, an encoder of the physical
    parameters, a base policy without memory)."""
    scandots_hidden: list[int] = widths([64, 32])
    """Hidden layers of the scandots encoder."""
    scandots_latent: int = not_negative(16, most=16384)
    """Width of the scandots latent (rma: of the terrain latent); 0 makes the policy blind."""
    depth_channels: list[int] = widths([16, 32])
    """Channels of the convolutions (kernel 3, stride 2) over a depth image (`task.observations.depth`), which
    takes the place of the scandots; those for which the image is too small are left out."""
    depth_hidden: list[int] = widths([128])
    """Hidden layers between the convolutions and the latent, whose width is `scandots_latent`."""
    adaptation: bool = False
    """rma: estimate the latent of the physical parameters from the proprioception, by a second GRU, in place of
    encoding them."""
    image_channels: list[int] = widths([32, 64, 64], length=3)
    """Channels of the three convolutions over a Gymnasium environment's images."""
    image_latent: int = positive(128, most=16384)
    """Width of the images' latent."""
    extrinsics_hidden: list[int] = widths([64, 32])
    """rma: hidden layers of the encoder of the physical parameters."""
    extrinsics_latent: int = positive(8, most=16384)
    """rma: width of their latent."""
    gru_hidden: int = positive(256, most=16384)
    """Width of the GRU."""
    gru_layers: int = not_negative(1, most=16)
    """Layers of the GRU; 0 makes a policy without memory."""
    actor_hidden: list[int] = widths([128, 64])
    """Hidden layers of the action MLP."""
    actor_skip: bool = False
    """Feed the action MLP the GRU's input beside its output."""
    critic_hidden: list[int] = widths([])
    """Hidden layers of the value head."""
    critic_memory: str = one_of("shared", "own", "none")
    """Memory of the critic: shared (the actor's GRU), own (a second GRU) or none (an MLP)."""
    critic_privileged: bool = False
    """Feed the value head the `privileged` observations too (asymmetric critic)."""
    activation: str = one_of("elu", "relu", "tanh", "silu")
    """elu, relu, tanh or silu."""
    distribution: str = one_of(
        "gaussian", "fixed_gaussian", "state_gaussian", "beta", "categorical"
    )
    """gaussian (learned log-std), fixed_gaussian, state_gaussian (std from the state), beta, or for the
    discrete actions of a Gymnasium environment categorical."""
    init_std: float = positive(1.0)
    """Initial (or fixed) standard deviation of the actions."""
    min_std: float = positive(0.05)
    """Lower bound of a learned standard deviation."""
    max_std: float = positive(2.0)
    """Upper bound of a learned standard deviation."""
    action_bound: float = positive(4.0)
    """Half width of the action interval of the beta distribution."""
    normalize_observations: bool = True
    """Running mean and variance of the observations but scandots, depth and images, frozen during a rollout and
    its epochs."""
