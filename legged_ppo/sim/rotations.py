"""Quaternion algebra on tensors; quaternions are w, x, y, z and of unit length."""

from __future__ import annotations

import torch


def rotate_inverse(quat: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """World vector [..., 3] in the frame whose orientation is `quat` [..., 4]."""
    w, xyz = quat[..., :1], quat[..., 1:]
    cross = torch.linalg.cross(xyz, vector) * 2.0
    return vector - w * cross + torch.linalg.cross(xyz, cross)


def yaw(quat: torch.Tensor) -> torch.Tensor:
    """Heading [...] in rad of `quat` [..., 4]: the angle of the x axis in the horizontal plane."""
    w, x, y, z = quat.unbind(-1)
    return torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def from_yaw(angle: torch.Tensor) -> torch.Tensor:
    """Quaternion [..., 4] of a rotation by `angle` [...] about z."""
    zero = torch.zeros_like(angle)
    return torch.stack([torch.cos(angle / 2), zero, zero, torch.sin(angle / 2)], dim=-1)


def wrap_to_pi(angle: torch.Tensor) -> torch.Tensor:
    """Angle [...] in [-pi, pi)."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi
