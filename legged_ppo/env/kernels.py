"""The parts of a control step that become kernels."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import is_dataclass
from operator import attrgetter
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from legged_ppo.interface import TensorFunction
from legged_ppo.runtime import distributed

if TYPE_CHECKING:
    from legged_ppo.runtime.fusion.fused import Fused
    from legged_ppo.runtime.fusion.kernel import Backend

Method = TypeVar("Method", bound=Callable[..., Any])


def fusable(method: Method) -> Method:
    """A method that runs as the kernel of its name in its object's `kernels`, if there is one: see `Fused`.

    It returns new tensors and writes what lasts into owned ones, and none of its branches depends on a tensor's
    values.
    """

    @functools.wraps(method)
    def run(self: Any, *arguments: Any) -> Any:
        kernel = self.kernels.get(method.__name__)
        return method(self, *arguments) if kernel is None else kernel(*arguments)

    return cast(Method, run)


def fusable_for_all(method: Method) -> Method:
    """A `fusable` method that is compiled on a GPU alone. A CPU does this work in torch, where and for whom it is
    needed; a GPU cannot tell that without waiting, and does it for all robots at every step."""
    run = fusable(method)
    run.for_all = True  # type: ignore[attr-defined]
    return run


def make_kernels(env: Any, refused: set[str]) -> dict[str, Fused]:
    """Kernels of an environment's fusable methods, compiled at their first calls.

    None unless the simulator names a compiler of them.

    Args:
        env: a `LocomotionEnv`.
        refused: names of methods that call what an extension defines.
    """
    compiler = _compiler(env)
    if compiler is None:
        return {}
    from legged_ppo.runtime.fusion.fused import Fused

    backend = _backend(env, compiler)
    # Callbacks may change the numbers of a recipe while a training runs.
    curriculum = "placement.curriculum.config"
    settings = attrgetter("robot.config", curriculum, *_dataclasses("config.task", env.config.task))

    def owners() -> list[object]:
        where, state = env.placement, env.simulator.state
        parts = [env.commands, env.clock, env.feet, env.pace, env.scandots, env.survey, where]
        parts += [where.heights, env.statistics, env.observations, env.randomization]
        return [env, state, *parts, env.extension_groups, where.curriculum, *settings(env)]

    methods = {
        name: method
        for name, method in vars(type(env)).items()
        if hasattr(method, "__wrapped__") and name not in refused
        if compiler == "warp" or not hasattr(method, "for_all")
    }
    return {
        name: Fused(MethodType(method.__wrapped__, env), owners, env.num_envs, backend)
        for name, method in methods.items()
    }


def compiled(env: Any, function: TensorFunction, rows: int) -> TensorFunction:
    """See `Environment.compiled`: a kernel in front of MuJoCo Warp."""
    if _compiler(env) != "warp":
        return function
    from legged_ppo.runtime.fusion.fused import Fused

    return Fused(function, tuple, rows, _backend(env, "warp"))


def _compiler(env: Any) -> str | None:
    """The simulator's `task_compiler`; None: nothing is compiled."""
    if not env.config.sim.compile_task:
        return None
    return getattr(env.simulator, "task_compiler", None)


def _backend(env: Any, compiler: str) -> Backend:
    # Imported here, because a simulator needs one of them alone.
    if compiler == "warp":
        from legged_ppo.runtime.fusion.warp_backend import WarpBackend

        return WarpBackend(env.device)
    from legged_ppo.runtime.fusion.lane_backend import LaneBackend

    return LaneBackend(env.config.sim.threads or distributed.threads())


def _dataclasses(path: str, value: Any) -> list[str]:
    """The path to a dataclass, and those to the dataclasses in it."""
    parts = {name: part for name, part in vars(value).items() if is_dataclass(part)}
    below = (_dataclasses(f"{path}.{name}", part) for name, part in parts.items())
    return [path, *itertools.chain.from_iterable(below)]
