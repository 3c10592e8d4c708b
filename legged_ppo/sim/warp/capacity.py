"""Sizes of MuJoCo Warp's contact and constraint buffers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Capacity:
    """Buffer sizes per robot. Contacts and convex pairs are pooled over all robots, so one robot may use
    more; constraints are not pooled."""

    contacts: int
    """contacts, and geom pairs whose bounding volumes overlap"""
    constraints: int
    """constraint rows"""
    convex_pairs: int
    """geom pairs that the general convex collider tests"""
