"""Cheap checks of a terrain configuration, made before any tile or model is built."""

from __future__ import annotations

from collections.abc import Iterable

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config, TerrainConfig
from legged_ppo.errors import ConfigError
from legged_ppo.terrain.tile import RIM
from legged_ppo.terrain.types import NO_TYPES, ExtraTypes, TileType, make_tile_types


def check_ground(config: Config) -> None:
    """Whether the terrain can be built, with the extensions' types, its curriculum can move robots, and the types
    that commands name exist.

    Raises:
        ConfigError: what `check_terrain` and `check_curriculum` raise, or an unknown type.
    """
    extra = load_extensions(config.extensions).terrains
    check_terrain(config.terrain, extra)
    check_curriculum(config.terrain, extra)
    known = list(make_tile_types(config.terrain, extra))
    _check_types("task.commands.forward_types", config.task.commands.forward_types, known)


def check_terrain(config: TerrainConfig, extra: ExtraTypes = NO_TYPES) -> dict[str, float]:
    """Validate the configuration; returns the share of robots that start on each terrain type.

    Raises:
        ConfigError: an unknown type; proportions without a positive sum; a tile size that is no multiple
            of the cell size, or too small for the features; a platform too small to start on;
            gaps that become shallower.
    """
    if (config.easiest_gap_depth or 0.0) > config.gap_depth:
        expected = f"null, or at most terrain.gap_depth ({config.gap_depth:g} m)"
        raise ConfigError("terrain.easiest_gap_depth", config.easiest_gap_depth, expected)
    known = make_tile_types(config, extra)
    shares = _checked_proportions(config, list(known))
    chosen = {name: known[name] for name in shares}
    _check_sizes(config, list(chosen))
    _check_platform(config, chosen)
    for key in ("cell_size", "height_map_cell"):
        size, cell = config.tile_size, getattr(config, key)
        if abs(round(size / cell) * cell - size) > 1e-6 * size:
            raise ConfigError(
                "terrain.tile_size", size, f"a multiple of terrain.{key} ({cell:g} m)"
            )
    return shares


def check_curriculum(config: TerrainConfig, extra: ExtraTypes = NO_TYPES) -> None:
    """Validate the curriculum of a terrain configuration.

    Raises:
        ConfigError: the initial level does not exist, the terrain has no levels of increasing difficulty,
            or the demotion threshold is not below the promotion threshold.
    """
    rule, curriculum = config.curriculum.rule, config.curriculum
    highest = config.max_initial_level
    if highest is not None and highest >= config.num_levels:
        expected = f"a level below terrain.num_levels ({config.num_levels})"
        raise ConfigError("terrain.max_initial_level", highest, expected)
    if rule == "none":
        return
    if config.num_levels < 2 or not _gets_harder(config, extra):
        expected = "none: the terrain has one level, or the ground is the same on all levels"
        raise ConfigError("terrain.curriculum.rule", rule, expected)
    if curriculum.demote >= curriculum.promote:
        expected = f"a share below terrain.curriculum.promote ({curriculum.promote:g})"
        raise ConfigError("terrain.curriculum.demote", curriculum.demote, expected)


def _gets_harder(config: TerrainConfig, extra: ExtraTypes) -> bool:
    """Whether a type of the grid has an (easiest, hardest) range of two different bounds; types of extensions
    are taken to get harder."""
    known = make_tile_types(config, extra)
    chosen = _checked_proportions(config, list(known))
    if chosen.keys() & extra.keys():
        return True
    values = [value for name in chosen for value in vars(known[name]).values()]
    return any(each[0] != each[1] for each in values if isinstance(each, tuple))


def _checked_proportions(config: TerrainConfig, known: list[str]) -> dict[str, float]:
    """The types with a positive share, and their shares."""
    proportions = config.proportions or {"flat": 1.0}
    _check_types("terrain.proportions", proportions, known)
    chosen = {name: share for name, share in proportions.items() if share > 0}
    if not chosen or min(proportions.values()) < 0:
        raise ConfigError(
            "terrain.proportions", dict(proportions), "shares >= 0 with a positive sum"
        )
    return chosen


def _check_types(key: str, names: Iterable[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(key, name, f"one of {', '.join(known)}", choices=known)


def _check_sizes(config: TerrainConfig, types: list[str]) -> None:
    """Check that a tile is large enough for the features of each of these types."""
    c = config
    open_ground = c.platform if set(types) - {"flat", "rough", "wave"} else 0.0
    features = {
        "stairs_up": 2 * c.stair_tread,
        "stairs_down": 2 * c.stair_tread,
        "curbs": 2.0,
        "stepping_stones": max(a + b for a, b in zip(c.stone_size, c.stone_gap, strict=True)),
        "gaps": 2 * max(c.gap_width) + 0.5,
        "pits": 0.5,
        "hurdles": 0.5,
    }
    for name in types:
        ring = features.get(name, 0.5)
        least = open_ground + 2 * (RIM + ring)
        if c.tile_size < least - 1e-9:
            raise ConfigError(
                "terrain.tile_size",
                c.tile_size,
                f"at least {least:g} m, which a tile of {name} needs for its platform of "
                f"{open_ground:g} m, features of {ring:g} m and rim of {RIM:g} m on each side",
            )


def _check_platform(config: TerrainConfig, types: dict[str, TileType]) -> None:
    """Check that the platform holds all feet of a robot at its start."""
    name = min(types, key=lambda each: types[each].spawn_radius)
    radius = types[name].spawn_radius
    if radius < -1e-9:
        expected = f"at least {config.platform - 2 * radius:g} m, for robots to start on {name}"
        raise ConfigError("terrain.platform", config.platform, expected)
