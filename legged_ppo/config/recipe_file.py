"""Reading recipe files safely: duplicate keys, alias bombs and absurd sizes are refused in bounded time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from legged_ppo.errors import ConfigError

_MOST_BYTES, _MOST_NODES, _MOST_DEPTH, _MOST_DIGITS = 1_000_000, 20_000, 20, 40


def check_recipe(path: Path, _including: tuple[Path, ...] = ()) -> None:
    """Read a recipe and every file beside it that its `defaults` name.

    Raises:
        ConfigError: a file is no valid recipe, or includes itself.
    """
    if path in _including or len(_including) > _MOST_DEPTH:
        raise ConfigError(
            "defaults", path.stem, "recipes that do not include themselves", source=str(path)
        )
    content = read_recipe(path)
    defaults = content.get("defaults", [])
    if not isinstance(defaults, list):
        expected = "a list such as [phase1_quickstart, _self_]"
        raise ConfigError("defaults", defaults, expected, source=str(path))
    for included in _included(path, defaults):
        if included.is_file():
            check_recipe(included, (*_including, path))


def _included(path: Path, defaults: list[Any]) -> Iterator[Path]:
    for entry in defaults:
        if isinstance(entry, str):
            if entry not in ("_self_", "schema"):
                yield (path.parent / entry).with_suffix(".yaml")
        elif isinstance(entry, dict):
            for group, options in entry.items():
                folder = path.parent / str(group).removeprefix("override ").partition("@")[0]
                for option in options if isinstance(options, list) else [options]:
                    yield (folder / str(option)).with_suffix(".yaml")
        else:
            raise ConfigError("defaults", entry, "names of recipes and groups", source=str(path))


def read_recipe(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: it is too large, not YAML, repeats a key, or is no mapping.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError("--config", str(path), f"a recipe of at most {_MOST_BYTES:,} bytes")
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())
        raise ConfigError("--config", str(path), f"valid YAML ({reason})") from None
    except OSError as error:
        expected = f"a file that can be read ({error.strerror})"
        raise ConfigError("--config", str(path), expected) from None
    if not isinstance(content, dict):
        raise ConfigError("--config", str(path), "YAML with keys and values at its top level")
    return content


class _StrictLoader(yaml.SafeLoader):
    """Refuses repeated keys, deep nesting, long integers and aliases that expand beyond the limits."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth, self._nodes = 0, 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node, counted with everything that its aliases expand to."""
        mark, before = self.peek_event().start_mark, self._nodes
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested over {_MOST_DEPTH} deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None:
            # An anchor without a size is still being read: the alias lies inside it.
            self._nodes += self._sizes.get(node, _MOST_NODES + 1) if is_alias else 1
            if self._nodes > _MOST_NODES:
                problem = f"over {_MOST_NODES:,} values, aliases expanded"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
            if not is_alias:
                self._sizes[node] = self._nodes - before
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, of keys that are there once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                problem = f"key {key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """The integer, of a sensible number of digits."""
        if len(node.value) > _MOST_DIGITS:
            problem = f"an integer of over {_MOST_DIGITS} digits"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return super().construct_yaml_int(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
