"""One physics substep, and a control step of several."""

from __future__ import annotations

from collections.abc import Callable

from legged_ppo.sim.simd.contacts import joint_limits, start_contacts
from legged_ppo.sim.simd.dynamics import smooth_dynamics
from legged_ppo.sim.simd.integration import integrate
from legged_ppo.sim.simd.machine import Index, Machine
from legged_ppo.sim.simd.measurement import measure_feet
from legged_ppo.sim.simd.solver import solve_constraints
from legged_ppo.sim.simd.workspace import Workspace

Collide = Callable[[Machine, Workspace], None]
"""Adds the contacts of one kind of ground."""


def control_step(m: Machine, w: Workspace, collide: Collide, substeps: Index) -> None:
    """`substeps` times the physics; the targets of the last step apply during the first `latency` of them."""
    for k in m.loop(substeps):
        late = m.broadcast(k) < w.state.latency[0]
        for i in range(w.robot.num_joints):
            target = m.select(late, w.state.previous_target[i], w.state.target[i])
            w.work.command[i] = target
        _accelerate(m, w, collide)
        for _ in m.when(m.less(substeps, k + 2)):  # the last one
            m.call(measure_feet, w)
        m.call(integrate, w)
    w.state.previous_target.write(0, w.state.target.read(0, w.robot.num_joints))


def forward(m: Machine, w: Workspace, collide: Collide) -> None:
    """Measurements at the present state, without a step."""
    w.work.command.write(0, w.state.target.read(0, w.robot.num_joints))
    _accelerate(m, w, collide)
    m.call(measure_feet, w)


def _accelerate(m: Machine, w: Workspace, collide: Collide) -> None:
    m.call(smooth_dynamics, w)
    m.call(start_contacts, w)
    m.call(collide, w)
    m.call(joint_limits, w)
    m.call(solve_constraints, w)
