"""The `sim` section: the physics engine."""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.config.schema.bounds import between, not_negative, one_of, positive


@dataclass
class SimConfig:
    """The physics engine."""

    engine: str = one_of("auto", "mujoco_c", "simd", "mujoco_warp")
    """mujoco_c (on a CPU), simd (on a CPU, one robot in each SIMD lane), mujoco_warp (on a GPU; also on a CPU,
    slowly), or auto: mujoco_warp on a GPU; on a CPU simd in training, if it can simulate the robot, and mujoco_c
    in evaluation."""
    simd_width: int = one_of(0, 4, 8, 16)
    """simd: robots per vector; 0 takes as many float32 numbers as the CPU's registers hold."""
    compile_task: bool = True
    """simd, mujoco_warp: compile measurements, rewards, observations and resets too; false runs them in torch,
    as a debugger or a `print` in a reward needs."""
    dt: float = between(0.005, 1e-5, 0.1)
    """Physics time step [s]."""
    decimation: int = positive(4, most=1000)
    """Physics substeps per control step."""
    threads: int = not_negative(0, most=4096)
    """Physics threads on the CPU; 0 takes one per core."""
    iterations: int = positive(10, most=1000)
    """Most Newton iterations per substep."""
    ls_iterations: int = positive(20, most=1000)
    """Most line-search iterations per Newton iteration; `simd` searches from the fourth of these on."""
    tolerance: float = not_negative(1e-6, most=1)
    """Improvement at which the constraint solver stops."""
    integrator: str = one_of("implicitfast", "euler")
    """MuJoCo integrator: implicitfast or euler."""
    cone: str = one_of("pyramidal", "elliptic")
    """MuJoCo friction cone: pyramidal or elliptic."""
    contacts: int = not_negative(0, most=10_000)
    """MuJoCo Warp: contacts per robot that fit into the buffers; 0 for these three measures them at the start."""
    constraints: int = not_negative(0, most=10_000)
    """MuJoCo Warp: constraint rows per robot."""
    convex_pairs: int = not_negative(0, most=10_000)
    """MuJoCo Warp: pairs of geoms per robot in the convex collider; without effect for spheres and capsules."""
    max_velocity: float = positive(200.0)
    """Generalised velocity [m/s, rad/s] above which a robot counts as blown up and is re-initialised."""
