"""Constants that MuJoCo derives from masses and armatures in the reference pose, batched over robots.

MuJoCo Warp's `set_const` launches 347 kernels in sequence for a Go2, three for every row of every body Jacobian.
Here the rows form one matrix, and robots that differ only in mass, centre of mass and armature share the
kinematics, so 29 torch operators suffice. None of them synchronises with the device.
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch

DERIVED = ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0")
"""Model fields derived from `body_mass`, `body_inertia`, `body_ipos` and `dof_armature`."""


class DerivedConstants:
    """`DERIVED` of one robot model as `mj_setConst` defines them, for free and hinge joints.

    The inertia matrix is M = sum over bodies of m Jp' Jp + Jr' I Jr, plus the armatures. The two
    inverse weights of a body are the means of diag(J inv(M) J') over its three translations and its three
    rotations. The inverse weight of a joint is diag(inv(M)), averaged over the three translations and the
    three rotations of a free joint. The acceleration of an actuator is |inv(M) moment|.
    """

    def __init__(self, model: mujoco.MjModel, device: torch.device) -> None:
        data = mujoco.MjData(model)
        data.qpos[:] = model.qpos0
        mujoco.mj_fwdPosition(model, data)
        bodies, nv = model.nbody, model.nv
        jacobian = np.zeros((bodies, 2, 3, nv))  # of the bodies' frames: translation, rotation
        for body in range(bodies):
            mujoco.mj_jacBody(model, data, jacobian[body, 0], jacobian[body, 1], body)
        axes = data.ximat.reshape(bodies, 3, 3)  # columns: the inertias' axes in the world

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=device)

        self._jacp, self._jacr = tensor(jacobian[:, 0]), tensor(jacobian[:, 1])  # [B, 3, V]
        self._spin = tensor(axes.transpose(0, 2, 1) @ jacobian[:, 1])  # [B, 3, V]
        self._frames = tensor(data.xmat.reshape(bodies, 3, 3))
        self._moment = tensor(_moments(model, data))  # [U, V]
        self._below = tensor(_below(model.body_parentid))  # [B, B]
        self._average = tensor(_average(model))  # [V, V]
        self._moves = tensor(model.body_weldid != 0)[:, None]  # [B, 1]
        self._identity = torch.eye(nv, device=device)

    def write(self, fields: dict[str, torch.Tensor], derived: dict[str, torch.Tensor]) -> None:
        """Compute the `DERIVED` fields [N, ...] from `fields` [N, ...], in place."""
        mass, armature = fields["body_mass"], fields["dof_armature"]
        offset = (self._frames @ fields["body_ipos"].unsqueeze(-1))[..., 0]  # [N, B, 3]
        # The velocity of a centre of mass is that of the body frame plus the rotation about it.
        jacp = self._jacp + torch.linalg.cross(self._jacr[None], offset[..., None], dim=-2)
        jacr = self._jacr.expand_as(jacp)  # [N, B, 3, V]
        turning = self._spin * fields["body_inertia"].sqrt()[..., None]
        roots = torch.cat([jacp * mass.sqrt()[..., None, None], turning], dim=2).flatten(1, 2)
        inertia = roots.mT @ roots + torch.diag_embed(armature)  # [N, V, V]
        factor = torch.linalg.cholesky_ex(inertia).L
        rows = torch.cat([jacp, jacr], dim=2).flatten(1, 2)  # [N, 6 B, V]
        rows = torch.cat([rows, self._identity.expand_as(inertia)], dim=1)
        solved = torch.linalg.solve_triangular(factor, rows.mT, upper=False)  # [N, V, 6 B + V]
        weights = solved.square().sum(1)
        bodies, joints = weights.split([6 * mass.shape[1], armature.shape[1]], dim=1)
        inverse = solved[..., bodies.shape[1] :]  # of the factor
        derived["body_subtreemass"].copy_(mass @ self._below.mT)
        derived["body_invweight0"].copy_(bodies.unflatten(1, (-1, 2, 3)).mean(-1) * self._moves)
        derived["dof_invweight0"].copy_(joints @ self._average)
        derived["actuator_acc0"].copy_((inverse.mT @ (inverse @ self._moment.mT)).norm(dim=1))


def _moments(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """[U, V], moment arms of the actuators."""
    dense = np.zeros((model.nu, model.nv))
    mujoco.mju_sparse2dense(
        dense, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
    )
    return dense


def _below(parents: np.ndarray) -> np.ndarray:
    """[B, B], 1 where the body of the column is in the subtree of the body of the row."""
    below = np.eye(len(parents))
    for body in range(len(parents) - 1, 0, -1):
        below[parents[body]] += below[body]
    return below


def _average(model: mujoco.MjModel) -> np.ndarray:
    """[V, V], averages over the three translations and over the three rotations of a free joint."""
    average = np.eye(model.nv)
    for joint in np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE):
        for first in model.jnt_dofadr[joint] + np.array([0, 3]):
            average[first : first + 3, first : first + 3] = 1 / 3
    return average
