"""Sizes of MuJoCo Warp's contact and constraint buffers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Capacity:
    """Buffer sizes per robot. Contacts and convex pairs are pooled, so that one robot may have more;
    constraints are each robot's own."""

    contacts: int
    """contacts, and pairs of geoms whose bounds touch"""
    constraints: int
    """rows"""
    convex_pairs: int
    """pairs of one of the robot's geoms and a height field"""
