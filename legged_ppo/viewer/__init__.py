"""Rendering: videos, the terrain gallery and the interactive viewer."""
