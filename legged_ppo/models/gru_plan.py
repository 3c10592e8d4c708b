"""How a block of a GPU's threads divides the products of `gru_source.py`."""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.models.gru_source import BACKWARD, BLOCK, FORWARD

SEQUENCES = 8
"""Sequences that are multiplied together: each weight in a register is used as often."""
MOST_HIDDEN = 128
"""Hidden units whose weights fit into the registers of one block."""
MULTIPLE = 16
"""What the number of units of a part is divisible by."""
_THREADS = 256
_OUTPUTS = 2
"""Units for which a thread multiplies gradients."""


def suits(hidden: int, parts: int) -> bool:
    """Whether there are kernels for a layer of so many units: its weights divide into registers."""
    return hidden <= MOST_HIDDEN and hidden % (MULTIPLE * parts) == 0


@dataclass(frozen=True)
class Geometry:
    """How a block divides the products.

    Attributes:
        threads: of a block.
        groups: stretches into which the entries of a sum are divided.
    """

    threads: int
    groups: int


def geometry(columns: int, length: int) -> Geometry:
    """For `columns` threads with sums of `length` numbers each, which are read four at a time."""
    groups = 1
    while 2 * groups * columns <= _THREADS and length % (8 * groups) == 0:
        groups *= 2
    return Geometry(groups * columns, groups)


def forward_geometry(hidden: int, parts: int) -> Geometry:
    """Of `forward_source`."""
    return geometry(hidden, hidden // parts)


def backward_geometry(hidden: int, parts: int) -> Geometry:
    """Of `backward_source`."""
    return geometry(hidden // _OUTPUTS, hidden // parts)


def forward_source(hidden: int, parts: int, record: bool, descending: bool = False) -> str:
    """The body of a function of (projected [T, B, 3H], state [B, H], keep [T, B], weights [3H, H], bias_n [H],
    outputs [T, B, H], and where it records previous [T, B, H], n [T, B, H] and gates [T, B, 3H]; T, B, blocks).

    Args:
        parts: 2 for a layer that commutes with the mirror, else 1.
        record: store what the backward pass reads.
        descending: on a CPU, the last thread of a block comes first.
    """
    plan = forward_geometry(hidden, parts)
    return _source(FORWARD, hidden, parts, plan, descending, RECORD=int(record))


def backward_source(hidden: int, parts: int, descending: bool = False) -> str:
    """The body of a function of (gradients of the outputs [T, B, H], keep [T, B], weights [3H, H] with the
    rows of n before those of r and z, previous [T, B, H], n [T, B, H], gates [T, B, 3H], gradients [T,
    B, 4, H], gradient of the state [B, H]; T, B, blocks). The gradients are those of W_hn h + b_hn, of
    the pre-activations of r and z, and of W_in x + b_in."""
    plan = backward_geometry(hidden, parts)
    return _source(BACKWARD, hidden, parts, plan, descending, OUTPUTS=_OUTPUTS)


def _source(
    body: str, hidden: int, parts: int, plan: Geometry, descending: bool, **more: int
) -> str:
    numbers = {
        **{"HIDDEN": hidden, "PARTS": parts, "UNITS": hidden // parts, "SEQUENCES": SEQUENCES},
        **{"THREADS": plan.threads, "GROUPS": plan.groups, "DESCENDING": int(descending)},
        **more,
    }
    lines = [f"#define {name} {value}" for name, value in numbers.items()]
    return "\n".join([*lines, BLOCK, body])
