"""Which operators a GPU's queue would have to run empty for; a capture refuses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "lift_fresh"}
"""They hand values to Python, give results of an unknown size, or copy from Python."""


def waits_for_device(func: Any, args: Sequence[Any]) -> bool:
    name = func.overloadpacket.__name__
    if name.startswith("index") and isinstance(args[1], (list, tuple)):
        return any(index is not None and index.dtype == torch.bool for index in args[1])
    return name in _WAITING
