"""Action distributions over [..., A], and the heads that compute their parameters from features."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.interface import SignedPermutation
from legged_ppo.models.halves import Features
from legged_ppo.models.linear import Linear
from legged_ppo.models.parameter_reflections import ParameterReflections

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class ActionDistribution(Protocol):
    """Distribution of actions with independent entries."""

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """Draw actions [..., A]."""
        ...

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """Log-density [...] of actions [..., A]."""
        ...

    def entropy(self) -> torch.Tensor:
        """Entropy [...], summed over the entries."""
        ...

    @property
    def mode(self) -> torch.Tensor:
        """Deterministic actions [..., A]."""
        ...

    @property
    def std(self) -> torch.Tensor:
        """Standard deviation [..., A] of each entry."""
        ...


@dataclass
class Gaussian:
    """Diagonal normal distribution; `log_std` broadcasts to `mean` [..., A]."""

    mean: torch.Tensor
    log_std: torch.Tensor

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """See `ActionDistribution.sample`."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + self.log_std.exp() * noise

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """See `ActionDistribution.log_prob`."""
        scaled = (action - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * scaled.square() - self.log_std - _LOG_SQRT_2PI).sum(-1)

    def entropy(self) -> torch.Tensor:
        """See `ActionDistribution.entropy`."""
        return (self.log_std + 0.5 + _LOG_SQRT_2PI).expand_as(self.mean).sum(-1)

    @property
    def mode(self) -> torch.Tensor:
        """See `ActionDistribution.mode`."""
        return self.mean

    @property
    def std(self) -> torch.Tensor:
        """See `ActionDistribution.std`."""
        return self.log_std.exp().expand_as(self.mean)


@dataclass
class ScaledBeta:
    """Beta distribution over [-bound, bound] (Chou et al., 2017); alpha and beta [..., A] are above 1."""

    alpha: torch.Tensor
    beta: torch.Tensor
    bound: float

    _EDGE = 1e-5
    """Distance of actions from the ends of the unit interval, where the density may vanish."""
    _TINY = 1e-12
    """Keeps the quotient of the mode finite."""

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """See `ActionDistribution.sample`."""
        a = torch._standard_gamma(self.alpha, generator=generator)
        b = torch._standard_gamma(self.beta, generator=generator)
        return self._to_action((a / (a + b)).clamp(self._EDGE, 1 - self._EDGE))

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """See `ActionDistribution.log_prob`."""
        # In float64: large terms cancel, and float32 moves an update's first ratios by 1e-4.
        unit = (action.double() / (2 * self.bound) + 0.5).clamp(self._EDGE, 1 - self._EDGE)
        a, b = self.alpha.double(), self.beta.double()
        log_density = (a - 1) * unit.log() + (b - 1) * torch.log1p(-unit) - _log_beta(a, b)
        return (log_density - math.log(2 * self.bound)).sum(-1).float()

    def entropy(self) -> torch.Tensor:
        """See `ActionDistribution.entropy`."""
        a, b = self.alpha, self.beta
        unit = (
            _log_beta(a, b)
            - (a - 1) * torch.digamma(a)
            - (b - 1) * torch.digamma(b)
            + (a + b - 2) * torch.digamma(a + b)
        )
        return (unit + math.log(2 * self.bound)).sum(-1)

    @property
    def mode(self) -> torch.Tensor:
        """See `ActionDistribution.mode`."""
        # If both parameters round to 1 the density is uniform; the mode is then defined as the middle.
        a, b = self.alpha - 1 + self._TINY, self.beta - 1 + self._TINY
        return self._to_action(a / (a + b))

    @property
    def std(self) -> torch.Tensor:
        """See `ActionDistribution.std`."""
        total = self.alpha + self.beta
        return (self.alpha * self.beta / (total.square() * (total + 1))).sqrt() * 2 * self.bound

    def _to_action(self, unit: torch.Tensor) -> torch.Tensor:
        return (2 * unit - 1) * self.bound


@dataclass
class Categorical:
    """Categorical distribution of A choices with logits [..., A]; actions are one-hot."""

    logits: torch.Tensor

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """See `ActionDistribution.sample`."""
        choices = torch.multinomial(self._probs.flatten(0, -2), 1, generator=generator)
        return self._one_hot(choices.view(self.logits.shape[:-1]))

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        """See `ActionDistribution.log_prob`."""
        return (self.logits.log_softmax(-1) * action).sum(-1)

    def entropy(self) -> torch.Tensor:
        """See `ActionDistribution.entropy`."""
        return -(self._probs * self.logits.log_softmax(-1)).sum(-1)

    @property
    def mode(self) -> torch.Tensor:
        """See `ActionDistribution.mode`."""
        return self._one_hot(self.logits.argmax(-1))

    @property
    def std(self) -> torch.Tensor:
        """See `ActionDistribution.std`."""
        return (self._probs * (1 - self._probs)).sqrt()

    @property
    def _probs(self) -> torch.Tensor:
        return self.logits.softmax(-1)

    def _one_hot(self, choices: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(choices, self.logits.shape[-1]).float()


class ActionHead(nn.Module, ABC):
    """The distribution of actions from features."""

    @abstractmethod
    def forward(self, features: Features) -> ActionDistribution:
        """The distribution for features [..., width]."""

    @abstractmethod
    def reflect(
        self, found: ParameterReflections, inputs: SignedPermutation, actions: SignedPermutation
    ) -> None:
        """Add the parameters to `found`, from the reflections of features and actions."""


class GaussianHead(ActionHead):
    """Gaussian with the mean computed from features and one std per action, learned or fixed."""

    fixed_log_std: torch.Tensor

    def __init__(self, width: int, num_actions: int, config: PolicyConfig, learned: bool) -> None:
        super().__init__()
        self.mean = final_layer(width, num_actions)
        self._bounds = (config.min_std, config.max_std)
        if learned:
            raw = raw_log_std(config.init_std, self._bounds)
            self.raw_log_std = nn.Parameter(torch.full((num_actions,), raw))
        else:
            self.register_buffer("fixed_log_std", torch.full((num_actions,), config.init_std).log())
        self._learned = learned

    def reflect(
        self, found: ParameterReflections, inputs: SignedPermutation, actions: SignedPermutation
    ) -> None:
        """See `ActionHead`."""
        found.linear(self.mean, inputs, actions)
        if self._learned:
            found.add(self.raw_log_std, _unsigned(actions))

    def forward(self, features: Features) -> Gaussian:
        """The distribution for features [..., width]."""
        mean = self.mean.of(features).float()
        if self._learned:
            return Gaussian(mean, bounded_log_std(self.raw_log_std, self._bounds))
        return Gaussian(mean, self.fixed_log_std)


class StateGaussianHead(ActionHead):
    """Gaussian with mean and std computed from features."""

    def __init__(self, width: int, num_actions: int, config: PolicyConfig) -> None:
        super().__init__()
        self.mean = final_layer(width, num_actions)
        self.raw_log_std = final_layer(width, num_actions)
        self._bounds = (config.min_std, config.max_std)
        nn.init.constant_(self.raw_log_std.bias, raw_log_std(config.init_std, self._bounds))

    def reflect(
        self, found: ParameterReflections, inputs: SignedPermutation, actions: SignedPermutation
    ) -> None:
        """See `ActionHead`."""
        found.linear(self.mean, inputs, actions)
        found.linear(self.raw_log_std, inputs, _unsigned(actions))

    def forward(self, features: Features) -> Gaussian:
        """The distribution for features [..., width]."""
        raw = self.raw_log_std.of(features).float()
        return Gaussian(self.mean.of(features).float(), bounded_log_std(raw, self._bounds))


class BetaHead(ActionHead):
    """Beta distribution with alpha and beta = 1 + softplus: unimodal, actions within +- action_bound."""

    def __init__(self, width: int, num_actions: int, config: PolicyConfig) -> None:
        super().__init__()
        self.parameters_layer = final_layer(width, 2 * num_actions)
        # With alpha = beta = c the std is bound / sqrt(2c + 1); c follows from the initial std.
        concentration = max(((config.action_bound / config.init_std) ** 2 - 1) / 2, 1.05)
        bias = math.log(math.expm1(concentration - 1.0))
        nn.init.constant_(self.parameters_layer.bias, bias)
        self._bound = config.action_bound

    def reflect(
        self, found: ParameterReflections, inputs: SignedPermutation, actions: SignedPermutation
    ) -> None:
        """See `ActionHead`. Where an action changes its sign, alpha becomes beta."""
        alpha, beta = actions.order, actions.order + len(actions.order)
        kept = actions.sign > 0
        order = torch.cat([torch.where(kept, alpha, beta), torch.where(kept, beta, alpha)])
        outputs = SignedPermutation(order, torch.ones(len(order)))
        found.linear(self.parameters_layer, inputs, outputs)

    def forward(self, features: Features) -> ScaledBeta:
        """The distribution for features [..., width]."""
        alpha, beta = (
            1.0 + nn.functional.softplus(self.parameters_layer.of(features).float())
        ).chunk(2, -1)
        return ScaledBeta(alpha, beta, self._bound)


class CategoricalHead(ActionHead):
    """Categorical distribution with logits computed from features."""

    def __init__(self, width: int, num_actions: int) -> None:
        super().__init__()
        self.logits = final_layer(width, num_actions)

    def reflect(
        self, found: ParameterReflections, inputs: SignedPermutation, actions: SignedPermutation
    ) -> None:
        """See `ActionHead`: choices have no reflection."""

    def forward(self, features: Features) -> Categorical:
        """The distribution for features [..., width]."""
        return Categorical(self.logits.of(features).float())


def make_head(width: int, num_actions: int, config: PolicyConfig) -> ActionHead:
    """The head that `config.distribution` names."""
    match config.distribution:
        case "gaussian":
            return GaussianHead(width, num_actions, config, learned=True)
        case "fixed_gaussian":
            return GaussianHead(width, num_actions, config, learned=False)
        case "state_gaussian":
            return StateGaussianHead(width, num_actions, config)
        case "beta":
            return BetaHead(width, num_actions, config)
        case "categorical":
            return CategoricalHead(width, num_actions)
    raise ValueError(f"unknown distribution {config.distribution!r}")


def _unsigned(reflection: SignedPermutation) -> SignedPermutation:
    """Of quantities without a direction, such as a standard deviation."""
    return SignedPermutation(reflection.order, reflection.sign.abs())


def bounded_log_std(raw: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    """Log-std bounded by a sigmoid between the logs of the bounds.

    A clamp would have no gradient outside its bounds, so a std that left them could not return.
    """
    low, high = math.log(bounds[0]), math.log(bounds[1])
    return low + (high - low) * torch.sigmoid(raw)


def raw_log_std(std: float, bounds: tuple[float, float]) -> float:
    """The parameter for which `bounded_log_std` gives log(std)."""
    low, high = math.log(bounds[0]), math.log(bounds[1])
    share = (math.log(std) - low) / (high - low)
    return math.log(share / (1.0 - share))


def _log_beta(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Logarithm of the beta function."""
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def final_layer(width: int, outputs: int) -> Linear:
    """A linear layer with small orthogonal weights, so that the first actions are near 0."""
    layer = Linear(width, outputs)
    nn.init.orthogonal_(layer.weight, gain=0.01)
    nn.init.zeros_(layer.bias)
    return layer
