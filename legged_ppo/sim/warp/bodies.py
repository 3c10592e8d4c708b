"""A bank of bodies that differ in mass, centre of mass and armature, with what MuJoCo derives from them.

The constants of a body cost a factorization; those of a bank are computed once, and a robot gets a body by a
gather inside the engine's graph.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import warp as wp

from legged_ppo.sim.indexing import ModelIndex
from legged_ppo.sim.simulator import PhysicalParameters
from legged_ppo.sim.warp.derived_fields import DERIVED, DerivedConstants
from legged_ppo.sim.warp.kernels import gather_rows, write_friction, write_gains

BODY_FIELDS = ("body_mass", "body_inertia", "body_ipos", "dof_armature")
"""Model fields that a body sets; `DERIVED` follows from them."""


class BodyBank:
    """K bodies.

    Args:
        fields, derived: the robots' fields [N, ...], those of the first with the masses and armatures of the
            model; written by `launch`.
        bodies: parameters [K] of which mass, centre of mass and armature are used.
    """

    def __init__(
        self,
        layout: ModelIndex,
        constants: DerivedConstants,
        fields: Mapping[str, torch.Tensor],
        derived: Mapping[str, torch.Tensor],
        bodies: PhysicalParameters,
    ) -> None:
        count = len(bodies.added_mass)
        self._targets = {name: fields[name] for name in BODY_FIELDS} | dict(derived)
        self._bank = {
            name: values[:1].repeat(count, *[1] * (values.dim() - 1))
            for name, values in self._targets.items()
        }
        everyone = torch.ones(count, dtype=torch.bool, device=bodies.added_mass.device)
        layout.write_bodies(self._bank, everyone, bodies)
        constants.write(self._bank, {name: self._bank[name] for name in DERIVED})

    def launch(self, mask: torch.Tensor, index: torch.Tensor) -> None:
        """Give the masked robots [N] bool the bodies of these indices [N] int32."""
        chosen, rows = wp.from_torch(mask), wp.from_torch(index)
        device = wp.device_from_torch(mask.device)
        for name, values in self._bank.items():
            source = wp.from_torch(values.view(len(values), -1))
            target = wp.from_torch(self._targets[name].view(len(mask), -1))
            shape = (len(mask), source.shape[1])
            wp.launch(gather_rows, shape, [chosen, rows, source], [target], device=device)


class DrawnParameters:
    """Physical parameters of robots that get kept bodies, on their way into the engine's graph.

    Args:
        fields, derived: as in `BodyBank`.
    """

    def __init__(
        self,
        layout: ModelIndex,
        fields: Mapping[str, torch.Tensor],
        derived: Mapping[str, torch.Tensor],
    ) -> None:
        self._layout, self._fields, self._derived = layout, fields, derived
        self._bank: BodyBank | None = None
        gain = fields["actuator_gainprm"]
        n, device = len(gain), gain.device
        self._feet = torch.tensor(layout.feet, dtype=torch.int32, device=device)
        # Captured graphs read fixed addresses.
        self._mask = torch.zeros(n, dtype=torch.bool, device=device)
        self._body = torch.zeros(n, dtype=torch.int32, device=device)
        self._friction, self._scales = gain.new_zeros(n), gain.new_zeros(n, 3)

    def keep(self, constants: DerivedConstants, bodies: PhysicalParameters) -> None:
        """Make the bank of these bodies [K]; nothing is drawn yet."""
        self._mask.zero_()
        self._bank = BodyBank(self._layout, constants, self._fields, self._derived, bodies)

    def draw(self, mask: torch.Tensor, parameters: PhysicalParameters | None) -> None:
        """Let the next `launch` give the masked robots [N] bool these parameters; None: give nobody any."""
        if parameters is None:
            self._mask.zero_()
            return
        p = parameters
        assert p.body is not None
        self._mask.copy_(mask)
        self._body.copy_(p.body)
        self._friction.copy_(p.friction)
        torch.stack([p.kp_scale, p.kd_scale, p.motor_strength], dim=1, out=self._scales)

    def launch(self) -> None:
        """Write bodies, gains and friction."""
        if self._bank is None:
            return
        self._bank.launch(self._mask, self._body)
        mask, device = wp.from_torch(self._mask), wp.device_from_torch(self._mask.device)
        gain, bias = self._fields["actuator_gainprm"], self._fields["actuator_biasprm"]
        gains = [wp.from_torch(x) for x in (self._scales, self._layout.kp, self._layout.kd)]
        outputs = [wp.from_torch(gain), wp.from_torch(bias)]
        wp.launch(write_gains, gain.shape[:2], [mask, *gains], outputs, device=device)
        friction = wp.from_torch(self._fields["geom_friction"], dtype=wp.vec3)
        inputs = [mask, wp.from_torch(self._friction), wp.from_torch(self._feet)]
        shape = (len(self._mask), len(self._feet))
        wp.launch(write_friction, shape, inputs, [friction], device=device)
