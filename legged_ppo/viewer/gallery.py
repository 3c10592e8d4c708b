"""An image of every terrain type at several difficulties."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
from PIL import Image, ImageDraw, ImageFont

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.terrain.geoms import PlacedTile, add_ground
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.terrain.tile import Tile
from legged_ppo.terrain.types import NO_TYPES, ExtraTypes, make_tile_types
from legged_ppo.viewer.gl_backend import use_working_backend

_SIZE = (300, 210)
"""Pixels of one tile's image."""
_OVERSAMPLING = 2
_LABEL, _FONT_SIZE = 26, 15
"""Height of a caption and its letters [pixels]."""
_CAMERA = {"distance": 1.35, "azimuth": 125.0, "elevation": -38.0}
"""Distance in tile sizes, angles in degrees."""
_COLOR = (0.85, 0.76, 0.62, 1.0)


def render_gallery(
    config: TerrainConfig, path: Path, levels: int = 4, extra: ExtraTypes = NO_TYPES
) -> list[str]:
    """Draw all types of `config`'s grid (every known one, if it names none) to a PNG.

    Args:
        levels: difficulties from 0 to 1 of each type, one a column.
        extra: terrain types of the recipe's extensions.

    Returns:
        the types, in the picture's order from top to bottom.

    Raises:
        RenderingUnavailable: no OpenGL back end works on this machine.
        ConfigError: the grid cannot be built.
    """
    use_working_backend()
    names = config.proportions or dict.fromkeys(make_tile_types(config, extra), 1.0)
    terrain = build_terrain(replace(config, proportions=dict(names), num_levels=levels), extra)
    width, height = _SIZE[0] * levels, (_SIZE[1] + _LABEL) * len(terrain.types)
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=_FONT_SIZE)
    for row, name in enumerate(terrain.types):
        for level in range(levels):
            corner = (level * _SIZE[0], row * (_SIZE[1] + _LABEL))
            difficulty = level / max(levels - 1, 1)
            text = f"{name}, difficulty {difficulty:.2f}"
            draw.text((corner[0] + 8, corner[1] + 5), text, font=font, fill="black")
            sheet.paste(_picture(terrain, row, level), (corner[0], corner[1] + _LABEL))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return terrain.types


def _picture(terrain: Terrain, column: int, level: int) -> Image.Image:
    model = _model(terrain.tiles[column][level], terrain.config.tile_size)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    camera = mujoco.MjvCamera()
    camera.lookat[:] = 0.0, 0.0, -0.2
    camera.distance = _CAMERA["distance"] * terrain.config.tile_size
    camera.azimuth, camera.elevation = _CAMERA["azimuth"], _CAMERA["elevation"]
    width, height = (_OVERSAMPLING * pixels for pixels in _SIZE)
    with mujoco.Renderer(model, height, width) as renderer:
        renderer.update_scene(data, camera)
        return Image.fromarray(renderer.render()).resize(_SIZE, Image.Resampling.LANCZOS)


def _model(tile: Tile, size: float) -> Any:
    """The tile alone, under a low sun."""
    spec = mujoco.MjSpec()
    add_ground(spec, [PlacedTile("tile", tile, (0.0, 0.0))], size, border=0.1)
    for geom in list(spec.worldbody.geoms):
        if geom.name.startswith("border") or (geom.name == "ground" and tile.sunken):
            spec.delete(geom)
            continue
        geom.material, geom.rgba = "", _COLOR
        if geom.name == "ground":  # of the endless plane only what lies under the tile
            geom.type, geom.size = mujoco.mjtGeom.mjGEOM_BOX, [size / 2, size / 2, 0.1]
            geom.pos[2] -= 0.1 if tile.patch is None else 0.12
    spec.add_texture(
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=[1, 1, 1],
        rgb2=[1, 1, 1],
        width=16,
        height=96,
    )
    spec.worldbody.add_light(
        pos=[-6.0, -2.0, 6.0],
        dir=[0.75, 0.3, -0.6],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        diffuse=[0.7, 0.7, 0.7],
        castshadow=True,
    )
    model = spec.compile()
    model.vis.global_.offwidth = _OVERSAMPLING * _SIZE[0]
    model.vis.global_.offheight = _OVERSAMPLING * _SIZE[1]
    model.vis.headlight.ambient[:] = 0.4
    model.vis.headlight.diffuse[:] = 0.15
    model.vis.headlight.specular[:] = 0.0
    model.vis.quality.shadowsize = 4096
    model.stat.extent, model.stat.center[:] = size, 0.0
    return model
