"""Adds the recipes to the wheel; everything else about the package is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copies configs/, which lies beside the package in a checkout, into the built package."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            packaged = Path(self.build_lib) / "legged_ppo" / "configs"
            shutil.copytree("configs", packaged, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithRecipes})
