"""Exact line search along a Newton direction."""

from __future__ import annotations

from typing import Any

from legged_ppo.sim.simd.contacts import TINY
from legged_ppo.sim.simd.layout import EDGES
from legged_ppo.sim.simd.machine import Machine, Mask, Number
from legged_ppo.sim.simd.workspace import Workspace

_SLOPE_TOLERANCE = 1e-2
"""Share of the slope at its start at which a line search ends; the next Newton step removes the rest."""
_FARTHEST = 1e30


def line_search(m: Machine, w: Workspace, searching: Mask, decrement: Number, length: Any) -> None:
    """Fill `length` with the step at which the cost is least, where `searching`: Newton's method on the slope,
    kept within a bracket that halves when a step leaves it.

    Args:
        decrement: minus the slope at the start.
    """
    linear: Number = 0.0
    quadratic: Number = 0.0
    for i in range(6 + w.robot.num_joints):
        d = w.work.direction[i]
        linear = linear + d * (w.work.mass_x[i] - w.work.force[i])
        quadratic = quadratic + d * w.work.mass_direction[i]
    enough = m.absolute(decrement) * _SLOPE_TOLERANCE + TINY
    low, high = m.variable(0.0), m.variable(_FARTHEST)
    for _ in m.loop(w.robot.line_search_iterations):
        at = length.value
        slope, curvature = _slope(m, w, at, linear, quadratic)
        going = searching & (m.absolute(slope) > enough)
        if m.leave(m.none(going)):
            break
        descending = slope < 0.0
        low.value = m.select(descending, at, low.value)
        high.value = m.select(descending, high.value, at)
        newton = at - slope * m.reciprocal(m.maximum(curvature, TINY))
        inside = (newton > low.value) & (newton < high.value)
        middle = 0.5 * (low.value + m.minimum(high.value, 4.0 * low.value + 1.0))
        length.value = m.select(going, m.select(inside, newton, middle), at)


def _slope(
    m: Machine, w: Workspace, at: Number, linear: Number, quadratic: Number
) -> tuple[Number, Number]:
    """First and second derivative of the cost."""
    slope, curvature = m.variable(linear + at * quadratic), m.variable(quadratic)
    for _, place in w.contacts.all(m):
        c = w.contacts[place]
        first: Number = 0.0
        second: Number = 0.0
        for y, dy in zip(c.residual.read(0, EDGES), c.step.read(0, EDGES), strict=True):
            here = y + at * dy
            active = m.select(here < 0.0, dy, 0.0)
            first, second = first + active * here, second + active * active
        weight = c.weight[0]
        slope.value = slope.value + weight * first
        curvature.value = curvature.value + weight * second
    for _ in m.when(w.limits.value):
        for i in w.robot.limited_columns:
            dy = w.work.limit_step[i]
            here = w.work.limit_residual[i] + at * dy
            active = m.select(here < 0.0, w.work.limit_weight[i] * dy, 0.0)
            slope.value = slope.value + active * here
            curvature.value = curvature.value + active * dy
    return slope.value, curvature.value
