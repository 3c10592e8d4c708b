"""Policies that come with the package, and how a run's checkpoint becomes a small file like them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import legged_ppo
from legged_ppo.errors import ConfigError
from legged_ppo.runs.checkpoint import load_checkpoint, save_checkpoint

PREFIX = "pretrained:"
_FOLDER = Path(legged_ppo.__file__).parent / "pretrained"
"""Holds NAME.pth and its model card NAME.json, which docs/pretrained.md shows."""
_KEPT = (
    "format",
    "versions",
    "provenance",
    "saved",
    "config",
    "robot_model",
    "obs_dims",
    "num_actions",
    "policy",
    "counters",
)


def pretrained_names() -> list[str]:
    """Names of the policies, as `pretrained:NAME` takes them."""
    return sorted(path.stem for path in _FOLDER.glob("*.pth"))


def pretrained_path(name: str, option: str = "--checkpoint") -> Path:
    """The checkpoint of `pretrained:NAME`.

    Args:
        option: names the input in the error.

    Raises:
        ConfigError: there is no such policy.
    """
    names = pretrained_names()
    short = name.removeprefix(PREFIX)
    if short not in names:
        expected = f"one of {', '.join(PREFIX + each for each in names)}"
        raise ConfigError(option, name, expected)
    return _FOLDER / f"{short}.pth"


def card_path(name: str) -> Path:
    """The file of a policy's model card."""
    return _FOLDER / f"{name}.json"


def pretrained_card(name: str) -> dict[str, Any]:
    """The model card of `pretrained:NAME`.

    Returns:
        texts ("robot", "training", "machine", "ground", "limits") and "measured": {"episodes", "seed", "commit",
        "rows": [{"terrain", "level", "feature", "overrides", figures of `model_card.FIGURES`}], "robots",
        "gait", "standing"}
    """
    return dict(json.loads(card_path(name).read_text()))


def save_policy_alone(source: Path, target: Path) -> None:
    """Write what acting, evaluation and `--init-from` need of a checkpoint: no optimizer and no robots' state,
    a tenth of its size. Versions, provenance and time stay those of `source`.

    Raises:
        ConfigError: `source` is no checkpoint.
        OSError: `target` cannot be written; an older file there is untouched.
    """
    checkpoint = load_checkpoint(source)
    save_checkpoint(target, {key: checkpoint[key] for key in _KEPT if key in checkpoint})
