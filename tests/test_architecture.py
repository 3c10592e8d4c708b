"""The direction of imports: a folder imports those below it, never those above; no circles.

Imports inside functions and under TYPE_CHECKING count, so that the whole source obeys the order.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORDER = """
    cli training reports viewer evaluation deploy interop runs env sensors algorithms sim models
    terrain|robots runtime config interface errors __init__
"""
"""From the top down; parts that share a place do not import each other."""
RANK = {part: rank for rank, parts in enumerate(ORDER.split()) for part in parts.split("|")}
LEARNING = ("legged_ppo.models", "legged_ppo.algorithms")
PHYSICAL = ("robots", "terrain", "sensors", "sim", "env")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in (ROOT / "legged_ppo").rglob("*.py")}


def imports_of(module: str) -> set[str]:
    """The project's modules that a file imports, wherever the statement stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in FILES else str(node.module) for name in names}
    return found & set(FILES) - {module}


def part_of(module: str) -> str:
    """The folder or file below legged_ppo that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


GRAPH = {module: imports_of(module) for module in FILES}


def test_folders_import_only_what_lies_below_them() -> None:
    pairs = [(module, name) for module, names in GRAPH.items() for name in names]
    # The package itself imports lazily on behalf of its users; its place is not in the order.
    edges = [(a, b) for a, b in pairs if part_of(a) not in ("__init__", part_of(b))]
    assert [edge for edge in edges if RANK[part_of(edge[0])] >= RANK[part_of(edge[1])]] == []


def test_files_import_each_other_in_no_circle() -> None:
    # The package imports its public functions lazily.
    graph = GRAPH | {"legged_ppo": set()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files


def test_learning_imports_nothing_physical() -> None:
    modules = [module for module in GRAPH if module.startswith(LEARNING)]
    reached = {part_of(name) for module in modules for name in GRAPH[module]}
    assert reached.isdisjoint(PHYSICAL)


def test_the_learner_loads_no_mujoco() -> None:
    code = (
        "import sys, legged_ppo.algorithms.ppo, legged_ppo.models.actor_critic as _; "
        "print([name for name in sys.modules if name.split('.')[0] == 'mujoco'])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


WITHOUT_LLVM = """
import sys
sys.modules["llvmlite"] = None  # an import of it raises
import torch
import legged_ppo.sim.warp.engine, legged_ppo.training.run
from legged_ppo.config.loading import load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.sensors.depth_rendering import DepthRenderer, TorchMarch, pixel_directions

config = load_config(
    "configs/phase1_fast.yaml",
    ["terrain=flat", "terrain.num_levels=2", "sim.engine=mujoco_c", "policy.activation=elu"],
)
env = make_locomotion_env(config, num_envs=2, seed=0)
env.step(torch.zeros(2, env.num_actions))
other = torch.device("meta")
torch.is_autocast_enabled = lambda *_: False  # which knows no such device
policy = ActorCritic(env.obs_dims, env.num_actions, config.policy).to(other)
obs = {name: torch.zeros(3, 2, size, device=other) for name, size in env.obs_dims.items()}
state, starts = policy.initial_state(2, other), torch.zeros(3, 2, dtype=torch.bool, device=other)
distribution, value, _ = policy.sequence(policy.normalize(obs), state, starts)
(distribution.mode.sum() + value.sum()).backward()
camera = DepthRenderer(env.terrain, pixel_directions(2, 3, 90.0), 2.0, other)
print(type(camera._march) is TorchMarch)
"""


def test_training_on_another_device_than_the_cpu_needs_no_llvmlite() -> None:
    command = [sys.executable, "-c", WITHOUT_LLVM]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "True", result.stderr
