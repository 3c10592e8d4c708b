"""The picture of the terrain types, as `python -m legged_ppo.terrain` draws it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from legged_ppo.cli.parser import EXIT_BAD_INPUT, EXIT_FAILURE
from legged_ppo.cli.terrain import main
from legged_ppo.config.loading import CONFIG_DIR
from legged_ppo.viewer import gallery, gl_backend

_TILE = np.array([300, 236])
"""Width and height [pixels] of a tile's picture with its caption."""


@pytest.mark.parametrize(
    ("types", "levels"), [({"stairs_up": 1}, 1), ({"gaps": 1, "rough": 1, "hurdles": 1}, 3)]
)
def test_the_gallery_has_a_picture_for_every_type_and_difficulty(
    backend: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    types: dict[str, int],
    levels: int,
) -> None:
    file = tmp_path / "gallery.png"
    shares = "{" + ", ".join(f"{name}: {share}" for name, share in types.items()) + "}"
    overrides = [f"terrain.proportions={shares}", "terrain.hurdle_height=[0,0.2]"]
    arguments = ["--gallery", str(file), "--levels", str(levels), *overrides]
    assert main([*arguments, "--config", str(CONFIG_DIR / "phase1_fast.yaml")]) == 0
    assert capsys.readouterr().out == f"{file}: {', '.join(types)}\n"
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("L"), dtype=int)
    assert pixels.shape[::-1] == tuple(_TILE * [levels, len(types)])
    for row in range(len(types)):
        for column in range(levels):
            (left, top), (right, bottom) = _TILE * [column, row], _TILE * [column + 1, row + 1]
            tile = pixels[top:bottom, left:right]
            assert (tile[:26] < 100).any(), "a caption"
            assert 0.2 < (tile[26:] < 250).mean() < 0.95, "ground before a white sky"


def test_without_a_recipe_the_gallery_shows_every_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []
    monkeypatch.setattr(gallery, "render_gallery", lambda *given: seen.append(given) or ["flat"])  # type: ignore[func-returns-value]
    assert main(["--gallery", str(tmp_path / "all.png")]) == 0
    config, file, levels, extra = seen[0]
    assert (config.proportions, file, levels, extra) == ({}, tmp_path / "all.png", 4, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gallery", "gallery.jpg"], "ends in .png"),
        (["--gallery", "nowhere/gallery.png"], "in a folder that exists"),
        (["--gallery", "gallery.png", "terrain.proportions.ruogh=1"], "did you mean 'rough'"),
        (["--gallery", "gallery.png", "terrain.platform=0.5"], "terrain.platform: got 0.5"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("levels", ["0", "-1", "few"])
def test_levels_are_counted_from_1(levels: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--gallery", "gallery.png", "--levels", levels])
    assert caught.value.code == EXIT_BAD_INPUT


def test_without_opengl_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gl_backend, "_renders", lambda name: False)
    gl_backend.use_working_backend.cache_clear()
    assert main(["--gallery", str(tmp_path / "gallery.png")]) == EXIT_FAILURE
    gl_backend.use_working_backend.cache_clear()
    assert "libegl1 libgl1" in capsys.readouterr().err
