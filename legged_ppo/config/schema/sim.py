"""The `sim` section: the physics engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SimConfig:
    """The physics engine."""

    engine: str = "auto"
    """mujoco_c (on a CPU), mujoco_warp (on a GPU; also on a CPU, slowly), or auto: what suits the device."""
    dt: float = 0.005
    """Physics time step [s]."""
    decimation: int = 4
    """Physics substeps per control step."""
    threads: int = 0
    """Physics threads on the CPU; 0 takes one per core."""
    iterations: int = 10
    """Most Newton iterations per substep."""
    ls_iterations: int = 20
    """Most line-search iterations per Newton iteration."""
    tolerance: float = 1e-6
    """Improvement at which the constraint solver stops."""
    integrator: str = "implicitfast"
    """MuJoCo integrator: implicitfast or euler."""
    cone: str = "pyramidal"
    """MuJoCo friction cone: pyramidal or elliptic."""
    contacts: int = 0
    """MuJoCo Warp: contacts per robot that fit into the buffers; 0 for these three measures them at the start."""
    constraints: int = 0
    """MuJoCo Warp: constraint rows per robot."""
    convex_pairs: int = 0
    """MuJoCo Warp: pairs of geoms per robot in the convex collider (height fields)."""
    max_velocity: float = 200.0
    """Generalised velocity [m/s, rad/s] above which a robot counts as blown up and is re-initialised."""
