"""The ground as the engine's memory holds it: some numbers and some tables, the same for all robots."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from legged_ppo.sim.simd.llvm_values import Emitter


@dataclass
class Ground:
    """What a robot may touch; positions in the world [m]."""

    plane: float = 0.0
    """Height of the plane."""

    def packed(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Addresses [numbers, tables...] as `EmittedGround` reads them, and the arrays that they point to."""
        numbers = [getattr(self, each.name) for each in fields(self)]
        arrays = [np.array(numbers, dtype=np.float32)]
        return np.array([array.ctypes.data for array in arrays], dtype=np.uint64), arrays


class EmittedGround:
    """A `Ground` behind a pointer: numbers are loaded where they are used."""

    def __init__(self, m: Emitter, pointer: Any) -> None:
        self._m, self._pointer = m, pointer

    def __getattr__(self, name: str) -> Any:
        index = [each.name for each in fields(Ground)].index(name)
        return self._m.load_number(self._m.load_pointer(self._pointer, 0), index)
