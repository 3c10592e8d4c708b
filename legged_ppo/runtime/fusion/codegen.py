"""What code is written for: numbers of a robot, entries of memory, and one loop at a time.

A backend's `Codegen` writes instructions for a robot's numbers through its `builder`, which has the methods of
llvmlite's `IRBuilder` that arithmetic needs. NaN, infinity, signed zeros and comparisons are IEEE's, as in torch.
Integers are int64 in memory and 32 bits wide in registers, where vectors of 64 bits would cost several times as
much: what counts steps and robots and indexes tables needs no more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from legged_ppo.runtime.fusion.graph import UnfusableError

_INTEGERS = ((">=", -2147483648.0), ("<=", 2147483520.0))
"""The smallest and the largest float32 that 32 bits hold."""


@dataclass(frozen=True, eq=False)
class Number:
    """Code of a float32 (`f`), an integer (`i`) or a boolean (`b`) of a robot, or of several robots in lanes."""

    code: Any
    kind: str
    robot: bool = False
    """The robot's own number."""


@dataclass(frozen=True)
class Place:
    """Where a robot's entry of a tensor lies, in entries from its first one."""

    fixed: int
    robot: int
    """Stride of the robots."""
    loop: int
    """Stride of the loop's index."""
    computed: tuple[tuple[Number, int], ...] = ()
    """Indices and their strides."""


class Variable(Protocol):
    """A number that the iterations of a loop change."""

    def get(self) -> Number: ...

    def set(self, value: Number) -> None: ...


class Memory(Protocol):
    """The tensors whose addresses are among a kernel's pointers."""

    def load(self, slot: int, kind: str, place: Place, row: int) -> Number:
        """An entry of the tensor at this position among the pointers.

        Args:
            row: entries of a robot, or of a table's row, if they lie side by side, else 0.
        """

    def store(self, slot: int, place: Place, value: Number) -> None: ...

    def store_row(self, slot: int, first: Place, values: Sequence[Number]) -> None:
        """Entries of a robot's row that lie side by side from the first one on."""


class Codegen(ABC):
    """A function that is written one instruction after the other."""

    builder: Any

    @abstractmethod
    def type(self, kind: str) -> Any:
        """That of the code of numbers of this kind."""

    @abstractmethod
    def literal(self, value: Any, kind: str) -> Any:
        """Code of a constant."""

    @abstractmethod
    def call(self, name: str, kind: str, *values: Number) -> Number:
        """A function by its name among LLVM's intrinsics."""

    @abstractmethod
    def robot(self) -> Number:
        """The robot's number."""

    @abstractmethod
    def loop_number(self, offset: int) -> Number:
        """The loop's index plus an offset."""

    @abstractmethod
    def loop(self, low: int, high: int) -> AbstractContextManager[None]:
        """The body runs with the loop's index from `low` to `high`, at least once."""

    @abstractmethod
    def variable(self, value: Number) -> Variable:
        """A variable that holds this number at first."""

    def constant(self, value: Any, kind: str) -> Number:
        value = {"f": float, "i": int, "b": bool}[kind](value)
        if kind == "i" and not -(2**31) <= value < 2**31:
            raise UnfusableError(f"the integer {value}, which has more than 32 bits")
        return Number(self.literal(value, kind), kind)

    def converted(self, a: Number, kind: str) -> Number:
        """A number as another kind, as torch converts."""
        if a.kind == kind:
            return a
        builder, zero = self.builder, self.constant(0, a.kind).code
        if kind == "b":
            compare = builder.fcmp_unordered if a.kind == "f" else builder.icmp_signed
            return Number(compare("!=", a.code, zero), "b")
        if a.kind == "b":
            one, none = self.constant(1, kind), self.constant(0, kind)
            return Number(builder.select(a.code, one.code, none.code), kind)
        if kind == "f":
            return Number(builder.sitofp(a.code, self.type("f")), "f")
        return Number(self.truncated(a.code), "i")

    def truncated(self, code: Any) -> Any:
        """Integers of floats, the nearest there is; 0 of NaN. LLVM's own conversion of that kind goes lane by
        lane."""
        builder = self.builder
        for operation, bound in (("ord", 0.0), *_INTEGERS):
            other = self.literal(bound, "f")
            inside = builder.fcmp_ordered(operation, code, code if operation == "ord" else other)
            code = builder.select(inside, code, other)
        return builder.fptosi(code, self.type("i"))

    def select(self, mask: Number, a: Number, b: Number) -> Number:
        return Number(self.builder.select(mask.code, a.code, b.code), a.kind)
