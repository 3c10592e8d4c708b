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
NUMBERS = ("steps", "batch", "blocks")
"""What a launch passes after the addresses of the tensors: T, B and how many blocks there are."""
_THREADS = 256
_REGISTERS = 2**16
"""Of a multiprocessor."""
_OTHER_REGISTERS = 52
"""Of a thread besides its weights, the fewest that `benchmarks/gru_resources.py` finds (32 units)."""
MOST_BLOCKS = 4
"""For each multiprocessor: more have no sequences at the sizes of trainings."""
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


@dataclass(frozen=True)
class KernelPlan:
    """A kernel, and what a launch of it needs.

    Attributes:
        source: the body of its function (`make_kernel`); its pointers are those of the tensors, then `NUMBERS`.
        tensors: how many it takes.
        written: of them, the last ones, which it writes.
        blocks: for each multiprocessor.
    """

    name: str
    source: str
    geometry: Geometry
    tensors: int
    written: int
    blocks: int

    @property
    def arguments(self) -> int:
        return self.tensors + len(NUMBERS)


def forward_kernel(hidden: int, parts: int, record: bool, descending: bool = False) -> KernelPlan:
    """Of (projected [T, B, 3H], state [B, H], keep [T, B], weights [3H, H], bias_n [H], outputs [T, B, H], and
    where it records previous [T, B, H], n [T, B, H] and gates [T, B, 3H]).

    Args:
        parts: 2 for a layer that commutes with the mirror, else 1.
        record: store what the backward pass reads.
        descending: on a CPU, the last thread of a block comes first.
    """
    plan = forward_geometry(hidden, parts)
    source = _source(FORWARD, hidden, parts, plan, descending, RECORD=int(record))
    blocks = _blocks(plan, 3 * hidden // parts // plan.groups)
    if record:
        return KernelPlan("gru_record", source, plan, 9, 4, blocks)
    return KernelPlan("gru_outputs", source, plan, 6, 1, blocks)


def backward_kernel(hidden: int, parts: int, descending: bool = False) -> KernelPlan:
    """Of (gradients of the outputs [T, B, H], keep [T, B], weights [3H, H], previous [T, B, H], n [T, B, H],
    gates [T, B, 3H], gradients [T, B, 4, H], gradient of the state [B, H]). The gradients are those of W_hn h
    + b_hn, of the pre-activations of r and z, and of W_in x + b_in."""
    plan = backward_geometry(hidden, parts)
    source = _source(BACKWARD, hidden, parts, plan, descending, OUTPUTS=_OUTPUTS)
    blocks = _blocks(plan, 3 * _OUTPUTS * hidden // parts // plan.groups)
    return KernelPlan("gru_gradients", source, plan, 8, 2, blocks)


def kernels_of(hidden: int, parts: int, descending: bool = False) -> tuple[KernelPlan, ...]:
    """Those that compute outputs, record and compute gradients."""
    return (
        forward_kernel(hidden, parts, record=False, descending=descending),
        forward_kernel(hidden, parts, record=True, descending=descending),
        backward_kernel(hidden, parts, descending),
    )


def _blocks(plan: Geometry, weights: int) -> int:
    """For each multiprocessor, where a thread keeps so many weights. One block more than its registers hold waits
    for another's end, which costs nothing but loading the weights; one fewer leaves it idle."""
    return max(1, min(MOST_BLOCKS, _REGISTERS // (plan.threads * (weights + _OTHER_REGISTERS))))


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
