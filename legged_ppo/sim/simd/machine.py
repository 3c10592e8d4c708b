"""What the physics is written in: numbers, masks, memory and control flow, for two machines.

`numpy_machine.NumpyMachine` computes with float64 arrays, one entry per robot: the reference.
`llvm_machine.LlvmMachine` emits LLVM IR for vectors of float32, one lane per robot. A number is an array, an
IR value or a Python float (a constant of the model, folded when the code is emitted); a mask is the result of
a comparison and knows `&`, `|`, `^`, `~`. An index or a count is the same for all robots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

Number = Any
"""One float per robot, or a Python float."""
Mask = Any
"""One boolean per robot."""
Index = Any
"""An integer that all robots share."""
Vector = list[Any]
"""A list of numbers."""


class Memory(Protocol):
    """An array of numbers."""

    def __getitem__(self, index: Index) -> Number: ...

    def __setitem__(self, index: Index, value: Number) -> None: ...

    def read(self, start: Index, count: int) -> Vector:
        """`count` numbers from `start` on."""
        ...

    def write(self, start: Index, values: Sequence[Number]) -> None:
        """Store numbers from `start` on."""
        ...

    def add(self, start: Index, values: Sequence[Number]) -> None:
        """Add numbers to those from `start` on."""
        ...

    def part(self, start: Index) -> Memory:
        """The same memory with `start` as its index 0."""
        ...


class Variable(Protocol):
    """A number, mask or index that code inside loops and branches may change."""

    value: Any


class Machine(Protocol):
    """Operations on numbers, and control flow."""

    def select(self, mask: Mask, a: Number, b: Number) -> Number:
        """`a` where the mask holds, else `b`."""
        ...

    def mask(self, value: bool) -> Mask:
        """The same for all robots."""
        ...

    def is_mask(self, value: Any) -> bool: ...

    def minimum(self, a: Number, b: Number) -> Number:
        """The smaller one; `b` where `a` is NaN."""
        ...

    def maximum(self, a: Number, b: Number) -> Number:
        """The larger one; `b` where `a` is NaN."""
        ...

    def absolute(self, a: Number) -> Number: ...

    def sqrt(self, a: Number) -> Number: ...

    def reciprocal(self, a: Number) -> Number: ...

    def floor(self, a: Number) -> Number: ...

    def sincos(self, a: Number) -> tuple[Number, Number]: ...

    def broadcast(self, index: Index) -> Number:
        """An index as a number."""
        ...

    def gather(self, table: Any, position: Number) -> Number:
        """Entries of a table in memory at positions that differ between robots (whole numbers in range)."""
        ...

    def record(self, table: Any, position: Number, count: int) -> Vector:
        """`count` entries in a row of a table in memory, from positions that differ between robots on."""
        ...

    def variable(self, value: Any) -> Variable: ...

    def constants(self, values: Sequence[float]) -> Any:
        """A table of numbers that an index can address."""
        ...

    def indices(self, values: Sequence[int]) -> Any:
        """A table of integers that an index can address."""
        ...

    def any(self, mask: Mask) -> Any:
        """Whether the mask holds for some robot: a condition."""
        ...

    def none(self, mask: Mask) -> Any:
        """Whether the mask holds for no robot: a condition."""
        ...

    def less(self, a: Index, b: Index) -> Any:
        """Whether an index lies below another: a condition."""
        ...

    def loop(self, count: Index) -> Iterator[Index]:
        """`for i in machine.loop(count)`: repeat the body."""
        ...

    def leave(self, condition: Any) -> bool:
        """`if machine.leave(condition): break`: end the innermost loop."""
        ...

    def when(self, condition: Any) -> Iterator[None]:
        """`for _ in machine.when(condition)`: run the body or skip it."""
        ...

    def call(self, phase: Callable[..., None], *arguments: Any) -> None:
        """Run a phase; compiled machines make it a function of its own."""
        ...
