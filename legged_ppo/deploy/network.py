"""The network of a policy as a robot runs it, and its files: ONNX and TorchScript."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from legged_ppo.deploy.metadata import ACTION, KEY, STATE_IN, STATE_OUT, TARGETS, Metadata
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.trunks import EXTRINSICS, IMAGE, PRIVILEGED, SCANDOTS

_OPSET = 18
INSTALL = "pip install -c constraints.txt -e '.[deploy]'"


class DeployedNetwork(nn.Module):
    """One control step of one robot: observation groups and recurrent state in; joint targets, action and
    recurrent state out.

    Normalization, clipping, action scale and default pose are inside, as the environment applies them; the critic
    and the exploration noise are not. An episode starts with a state of zeros.

    Args:
        default_joint_pos: [J] rad.

    Raises:
        ConfigError: the policy reads what no robot has.
    """

    default_joint_pos: torch.Tensor

    def __init__(
        self,
        policy: ActorCritic,
        default_joint_pos: torch.Tensor,
        action_scale: float,
        action_clip: float,
    ) -> None:
        super().__init__()
        for group in (EXTRINSICS, IMAGE):
            if group in policy.trunk.groups:
                expected = "a policy of observations that a robot has"
                raise ConfigError("--checkpoint", f"a policy that reads {group}", expected)
        self.policy = policy
        # With a camera the scandots are the critic's.
        left_out = [PRIVILEGED, *([SCANDOTS] if policy.trunk.depth_encoder else [])]
        names = [name for name in policy.trunk.groups if name not in left_out]
        self.groups = {name: math.prod(_shape(policy.obs_dims[name])) for name in names}
        """Width of each observation group, in the order of the inputs; an image's is its number of pixels."""
        layers = policy.trunk.actor_layers
        self.state_shape = [layers, 1, policy.config.gru_hidden] if layers else []
        """Of the recurrent state; empty without memory."""
        self.register_buffer("default_joint_pos", default_joint_pos.float())
        self._scale, self._clip = action_scale, action_clip

    @property
    def input_names(self) -> list[str]:
        return [*self.groups, *([STATE_IN] if self.state_shape else [])]

    @property
    def output_names(self) -> list[str]:
        return [TARGETS, ACTION, *([STATE_OUT] if self.state_shape else [])]

    def example(self) -> tuple[torch.Tensor, ...]:
        """Inputs of the right shapes."""
        shapes = [[1, width] for width in self.groups.values()]
        if self.state_shape:
            shapes.append(self.state_shape)
        return tuple(torch.zeros(shape) for shape in shapes)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Joint targets [1, J] rad, action [1, J] and the state [layers, 1, hidden], which a policy without
        memory neither takes nor returns.

        Args:
            inputs: observation groups [1, width] as the environment returns them, images row by row, then the
                state after the step before.
        """
        dims = self.policy.obs_dims
        groups = zip(self.groups, inputs, strict=False)
        obs = {name: group.view(1, *_shape(dims[name])) for name, group in groups}
        shape = self.state_shape or [0, 1, self.policy.config.gru_hidden]
        state = inputs[-1] if self.state_shape else inputs[0].new_zeros(shape)
        starts = torch.zeros(1, dtype=torch.bool)
        distribution, state = self.policy.act(self.policy.normalize(obs), state, starts)
        action = distribution.mode.clamp(-self._clip, self._clip)
        targets = self.default_joint_pos + self._scale * action
        return (targets, action, state) if self.state_shape else (targets, action)


def _shape(dims: int | tuple[int, ...]) -> tuple[int, ...]:
    return (dims,) if isinstance(dims, int) else dims


def to_onnx(network: DeployedNetwork, metadata: Metadata) -> bytes:
    """The ONNX file, with the metadata inside.

    Raises:
        UsageError: the packages that write ONNX are not installed.
    """
    require("onnx", "onnxscript")
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            network.eval(),
            network.example(),
            dynamo=True,
            opset_version=_OPSET,
            external_data=False,
            verbose=False,
            input_names=network.input_names,
            output_names=network.output_names,
        )
    assert program is not None
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, metadata.to_json()
    return bytes(model.SerializeToString())


def to_torchscript(network: DeployedNetwork, metadata: Metadata) -> bytes:
    """The TorchScript archive, with the metadata in its extra files."""
    with torch.no_grad(), _quiet():
        traced = torch.jit.trace(network.eval(), network.example())
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer, _extra_files={KEY: metadata.to_json()})
    return buffer.getvalue()


def require(*packages: str) -> None:
    """Refuse to go on without these packages of the extra `deploy`.

    Raises:
        UsageError: one is missing.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"the export needs {' and '.join(missing)}", f"install it: {INSTALL}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' progress and their warnings on shapes that are fixed on purpose."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
