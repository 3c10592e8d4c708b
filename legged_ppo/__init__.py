"""legged_ppo: recurrent locomotion policies for legged robots by massively parallel PPO.

The public functions below are imported at their first use: `import legged_ppo` alone is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from legged_ppo.config.loading import load_config
    from legged_ppo.evaluation.task import make_env
    from legged_ppo.evaluation.trained_policy import TrainedPolicy, evaluate, load_policy
    from legged_ppo.training.run import train
    from legged_ppo.viewer.recording import record

__version__ = "0.1.0"
__all__ = ["TrainedPolicy", "evaluate", "load_config", "load_policy", "make_env", "record", "train"]

_MODULES = {
    "TrainedPolicy": "evaluation.trained_policy",
    "evaluate": "evaluation.trained_policy",
    "load_config": "config.loading",
    "load_policy": "evaluation.trained_policy",
    "make_env": "evaluation.task",
    "record": "viewer.recording",
    "train": "training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
