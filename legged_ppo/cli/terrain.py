"""python -m legged_ppo.cli.terrain --gallery out.png: see every terrain type before training on it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from legged_ppo.cli.parser import OneLineParser, check_output, positive, run_command


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m legged_ppo.cli.terrain",
        description="Picture the terrain types at rising difficulty.",
        epilog="example:\n  python -m legged_ppo.cli.terrain --gallery out.png --config configs/phase1_fast.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--gallery", type=Path, required=True, metavar="FILE", help="PNG file to write"
    )
    parser.add_argument(
        "--config", metavar="PATH", help="recipe whose terrain is shown (default: every type)"
    )
    parser.add_argument(
        "--levels", type=positive, default=4, metavar="N", help="difficulties (default: 4)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, draw; returns the exit code."""
    return run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    check_output("--gallery", arguments.gallery, ".png")

    from legged_ppo.config.extensions import load_extensions
    from legged_ppo.config.loading import CONFIG_DIR, load_config
    from legged_ppo.config.schema import TerrainConfig
    from legged_ppo.viewer.gallery import render_gallery
    from legged_ppo.viewer.gl_backend import RenderingUnavailable

    if arguments.config or arguments.overrides:
        recipe = arguments.config or CONFIG_DIR / "phase1_fast.yaml"
        found = load_config(recipe, arguments.overrides)
        config, extra = found.terrain, load_extensions(found.extensions).terrains
    else:
        config, extra = TerrainConfig(fractal_height=[0.02, 0.04], roughness=[0.02, 0.12]), {}
    try:
        types = render_gallery(config, arguments.gallery, arguments.levels, extra)
    except RenderingUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.gallery}: {', '.join(types)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
