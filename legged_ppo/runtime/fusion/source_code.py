"""C++ of a kernel: statements that compute one robot's numbers, for any compiler of CUDA or of a CPU."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from legged_ppo.runtime.fusion.codegen import Codegen, Number, Place

_TYPES = {"f": "float", "i": "int", "b": "bool"}
_IN_MEMORY = {"f": "float", "i": "long long", "b": "unsigned char"}
_FUNCTIONS = {
    **{name: f"{name}f" for name in ("sqrt", "floor", "ceil", "trunc", "rint", "fma")},
    "fabs": "fabsf",
    "copysign": "wp::copysign",
}
"""By their names among LLVM's intrinsics."""
_READ = """
#ifdef __CUDA_ARCH__
#define CONSTANT(entry) __ldg(&(entry))
#else
#define CONSTANT(entry) (entry)
#endif
"""
"""Reads what the kernel never writes, so that such reads need not wait for the writes before them."""


@dataclass(frozen=True)
class Value:
    """The name of a number of the program, or a literal, and its type."""

    text: str
    type: str

    def __str__(self) -> str:
        return self.text


class SourceBuilder:
    """Statements in the order in which they are asked for; the methods are those of llvmlite's `IRBuilder`.

    Sums and products of integers wrap, as LLVM's do; C++ allows that of unsigned ones alone.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def value(self, kind: str, expression: str) -> Value:
        """A new number."""
        name = self.name()
        self.lines.append(f"const {kind} {name} = {expression};")
        return Value(name, kind)

    def name(self) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"v{self._count}"

    def __getattr__(self, name: str) -> Any:
        if name in _INFIX:
            return lambda a, b: self.value(a.type, f"{a} {_INFIX[name]} {b}")
        if name in _WRAPPING:
            sign = _WRAPPING[name]
            return lambda a, b: self.value("int", f"(int)((unsigned){a} {sign} (unsigned){b})")
        raise AttributeError(name)

    def fneg(self, a: Value) -> Value:
        return self.value("float", f"-{a}")

    def neg(self, a: Value) -> Value:
        return self.value("int", f"(int)(0u - (unsigned){a})")

    def not_(self, a: Value) -> Value:
        return self.value(a.type, f"{'!' if a.type == 'bool' else '~'}{a}")

    def select(self, mask: Value, a: Value, b: Value) -> Value:
        return self.value(a.type, f"{mask} ? {a} : {b}")

    def icmp_signed(self, operation: str, a: Value, b: Value) -> Value:
        return self.value("bool", f"{a} {operation} {b}")

    icmp_unsigned = icmp_signed  # compares booleans

    def fcmp_ordered(self, operation: str, a: Value, b: Value) -> Value:
        both = {"ord": f"{a} == {a} && {b} == {b}", "!=": f"{a} < {b} || {a} > {b}"}
        return self.value("bool", both.get(operation, f"{a} {operation} {b}"))

    def fcmp_unordered(self, operation: str, a: Value, b: Value) -> Value:
        either = {"uno": f"{a} != {a} || {b} != {b}", "!=": f"{a} != {b}"}
        return self.value("bool", either[operation])

    def sitofp(self, a: Value, kind: str) -> Value:
        return self.value(kind, f"({kind}){a}")

    fptosi = sitofp

    def bitcast(self, a: Value, kind: str) -> Value:
        return self.value(kind, f"__builtin_bit_cast({kind}, {a})")


_INFIX = {"fadd": "+", "fsub": "-", "fmul": "*", "fdiv": "/", "sdiv": "/", "ashr": ">>"}
_INFIX |= {"and_": "&", "or_": "|", "xor": "^"}
_WRAPPING = {"add": "+", "sub": "-", "mul": "*", "shl": "<<"}


class SourceCode(Codegen):
    """The body of a function of `robot` and `pointers`, an array of addresses."""

    def __init__(self) -> None:
        self.builder = SourceBuilder()
        self.addresses: dict[int, str] = {}
        """Declarations of the pointers at these positions."""

    def finish(self) -> str:
        """The text of the body."""
        return "\n".join([_READ, *self.addresses.values(), *self.builder.lines])

    def type(self, kind: str) -> str:
        return _TYPES[kind]

    def literal(self, value: Any, kind: str) -> Value:
        return Value(_float(value) if kind == "f" else _whole(int(value)), _TYPES[kind])

    def call(self, name: str, kind: str, *values: Number) -> Number:
        arguments = ", ".join(str(value.code) for value in values)
        return Number(self.builder.value(_TYPES[kind], f"{_FUNCTIONS[name]}({arguments})"), kind)

    def robot(self) -> Number:
        return Number(Value("robot", "int"), "i", robot=True)

    def loop_number(self, offset: int) -> Number:
        return Number(self.builder.value("int", f"i + {_whole(offset)}"), "i")

    @contextmanager
    def loop(self, low: int, high: int) -> Iterator[None]:
        self.builder.lines.append(f"for (int i = {low}; i < {high}; ++i) {{")
        yield
        self.builder.lines.append("}")

    def variable(self, value: Number) -> SourceVariable:
        return SourceVariable(self.builder, value)


class SourceVariable:
    """`Variable` of the program."""

    def __init__(self, builder: SourceBuilder, value: Number) -> None:
        self._builder, self._kind = builder, value.kind
        self._name = builder.name()
        builder.lines.append(f"{value.code.type} {self._name} = {value.code};")

    def get(self) -> Number:
        return Number(self._builder.value(_TYPES[self._kind], self._name), self._kind)

    def set(self, value: Number) -> None:
        self._builder.lines.append(f"{self._name} = {value.code};")


class SourceMemory:
    """`Memory` of a function of `SourceCode`.

    Args:
        written: positions of the tensors that the function writes.
    """

    def __init__(self, code: SourceCode, written: Collection[int]) -> None:
        self._code, self._written = code, written

    def load(self, slot: int, kind: str, place: Place, row: int) -> Number:
        """See `Memory`."""
        entry = self._entry(slot, kind, place)
        if slot not in self._written:
            entry = f"CONSTANT({entry})"
        expression = f"{entry} != 0" if kind == "b" else f"({_TYPES[kind]}){entry}"
        return Number(self._code.builder.value(_TYPES[kind], expression), kind)

    def store(self, slot: int, place: Place, value: Number) -> None:
        """See `Memory`."""
        self._code.builder.lines.append(f"{self._entry(slot, value.kind, place)} = {value.code};")

    def store_row(self, slot: int, first: Place, values: Sequence[Number]) -> None:
        """See `Memory`."""
        for i, value in enumerate(values):
            self.store(slot, Place(first.fixed + i, first.robot, first.loop), value)

    def _entry(self, slot: int, kind: str, place: Place) -> str:
        stored = f"{'' if slot in self._written else 'const '}{_IN_MEMORY[kind]}*"
        declaration = f"{stored} const p{slot} = ({stored})pointers[{slot}];"
        self._code.addresses.setdefault(slot, declaration)
        terms = [(number.code, stride) for number, stride in place.computed]
        terms += [("robot", place.robot), ("i", place.loop), ("1", place.fixed)]
        offset = " + ".join(f"{term} * {stride}" for term, stride in terms if stride)
        return f"p{slot}[{offset or 0}]"


def _float(value: float) -> str:
    """The nearest float32's shortest sufficient decimals."""
    value = ctypes.c_float(value).value
    if not math.isfinite(value):
        return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "(-INFINITY)"
    text = f"{value:.9g}"
    text += "f" if "." in text or "e" in text else ".0f"
    return f"({text})" if text.startswith("-") else text


def _whole(value: int) -> str:
    """A literal of 32 bits; C++ has no negative ones, so the smallest number is none."""
    if value == -(2**31):
        return "(-2147483647 - 1)"
    return f"({value})" if value < 0 else str(value)
