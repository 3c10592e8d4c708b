"""Procedural terrain: tiles by type and level, the grid, the height map and the curriculum."""
