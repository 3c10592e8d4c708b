# mypy: ignore-errors
"""Warp kernels of the step; a graph captured by Warp cannot contain torch operators."""

import warp as wp


@wp.kernel
def choose_targets(
    substep: int,
    latency: wp.array(dtype=int),
    previous: wp.array2d(dtype=float),
    targets: wp.array2d(dtype=float),
    ctrl: wp.array2d(dtype=float),
):
    """Apply the previous targets during the latency [substeps] of a robot, then the new ones."""
    robot, joint = wp.tid()
    if substep < latency[robot]:
        ctrl[robot, joint] = previous[robot, joint]
    else:
        ctrl[robot, joint] = targets[robot, joint]


@wp.kernel
def write_rows(
    mask: wp.array(dtype=bool), source: wp.array2d(dtype=float), target: wp.array2d(dtype=float)
):
    """Copy the masked rows."""
    row, column = wp.tid()
    if mask[row]:
        target[row, column] = source[row, column]
