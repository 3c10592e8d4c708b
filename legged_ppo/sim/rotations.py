"""Quaternion algebra on tensors; quaternions are w, x, y, z and of unit length."""

from __future__ import annotations

import functools

import torch


@functools.cache
def quadratic_form(device: torch.device) -> torch.Tensor:
    """[16, 9]: the entries of the rotation matrix as sums of products of two quaternion components."""
    form = torch.zeros(4, 4, 3, 3)
    w, x, y, z = range(4)
    for i, signs in enumerate(((1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))):
        for component, sign in enumerate(signs):
            form[component, component, i, i] = sign
    for i, j, a, b in ((0, 1, x, y), (0, 2, x, z), (1, 2, y, z)):
        form[a, b, i, j] = form[a, b, j, i] = 2.0
    for i, j, a in ((2, 1, x), (0, 2, y), (1, 0, z)):
        form[w, a, i, j], form[w, a, j, i] = 2.0, -2.0
    return form.view(16, 9).to(device)


def rotation_matrix(quat: torch.Tensor, form: torch.Tensor | None = None) -> torch.Tensor:
    """[N, 3, 3] of quaternions [N, 4]; its columns are the axes of the rotated frame. Three operations,
    because on small tensors the cost is per operation.

    Args:
        form: `quadratic_form` of the device, for code that may read no other tensors than those it is given.
    """
    products = (quat.unsqueeze(-1) * quat.unsqueeze(-2)).view(-1, 16)
    form = quadratic_form(quat.device) if form is None else form
    return (products @ form).view(-1, 3, 3)


def from_yaw(angle: torch.Tensor) -> torch.Tensor:
    """Quaternion [..., 4] of a rotation by `angle` [...] about z."""
    zero = torch.zeros_like(angle)
    return torch.stack([torch.cos(angle / 2), zero, zero, torch.sin(angle / 2)], dim=-1)


def wrap_to_pi(angle: torch.Tensor) -> torch.Tensor:
    """Angle [...] in [-pi, pi)."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi
