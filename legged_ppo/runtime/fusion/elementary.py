"""Exponential and trigonometric functions of float32, to one or two units in the last place.

Polynomials and reductions are those of Cephes' single precision functions (Moshier, 1992). NaN and infinity are
IEEE's. Sines of angles beyond 1e4 rad lose digits.
"""

from __future__ import annotations

import math
from typing import Any

from legged_ppo.runtime.fusion.codegen import Codegen, Number

_HALF_PI_PARTS = (1.5703125, 4.837512969970703125e-4, 7.54978995489188216e-8)
_LN2_PARTS = (0.693359375, -2.12194440e-4)
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_ATAN = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)


class Scalars:
    """Arithmetic on vectors of float32, as expressions of Python."""

    def __init__(self, code: Codegen, value: Any) -> None:
        self._code, self.value = code, value

    def _with(self, operation: str, other: Any, reverse: bool = False) -> Scalars:
        left, right = self.value, other.value if isinstance(other, Scalars) else None
        if right is None:
            right = self._code.constant(other, "f").code
        if reverse:
            left, right = right, left
        return Scalars(self._code, getattr(self._code.builder, operation)(left, right))

    def __add__(self, other: Any) -> Scalars:
        return self._with("fadd", other)

    def __sub__(self, other: Any) -> Scalars:
        return self._with("fsub", other)

    def __rsub__(self, other: Any) -> Scalars:
        return self._with("fsub", other, reverse=True)

    def __mul__(self, other: Any) -> Scalars:
        return self._with("fmul", other)

    def __truediv__(self, other: Any) -> Scalars:
        return self._with("fdiv", other)

    def called(self, name: str) -> Scalars:
        return Scalars(self._code, self._code.call(name, "f", Number(self.value, "f")).code)

    def chosen(self, mask: Any, other: Any) -> Scalars:
        """These where the mask holds, else the others."""
        if not isinstance(other, Scalars):
            other = Scalars(self._code, self._code.constant(other, "f").code)
        return Scalars(self._code, self._code.builder.select(mask, self.value, other.value))

    def compared(self, operation: str, other: Any) -> Any:
        """An ordered comparison: false of NaN."""
        other = other.value if isinstance(other, Scalars) else self._code.constant(other, "f").code
        return self._code.builder.fcmp_ordered(operation, self.value, other)


def exponential(c: Codegen, a: Number) -> Number:
    x = Scalars(c, a.code)
    high, low = Scalars(c, c.constant(89.0, "f").code), Scalars(c, c.constant(-104.0, "f").code)
    x = high.chosen(x.compared(">", high), x)
    x = low.chosen(x.compared("<", low), x)
    n = (x * (1.0 / math.log(2.0))).called("rint")
    r = x - n * _LN2_PARTS[0] - n * _LN2_PARTS[1]
    result = _polynomial(r, _EXP) * (r * r) + r + 1.0
    # Two factors: one alone would overflow before the result does, or lose subnormal results.
    whole = c.truncated(n.value)
    half = c.builder.ashr(whole, c.literal(1, "i"))
    for power in (half, c.builder.sub(whole, half)):
        result = result * _power_of_two(c, power)
    return Number(result.value, "f")


def sine(c: Codegen, a: Number) -> Number:
    return _wave(c, a, 0)


def cosine(c: Codegen, a: Number) -> Number:
    return _wave(c, a, 1)


def arctangent2(c: Codegen, y: Number, x: Number) -> Number:
    builder = c.builder
    down, right = (Scalars(c, n.code) for n in (y, x))
    ay, ax = down.called("fabs"), right.called("fabs")
    steep = ay.compared(">", ax)
    small, large = ax.chosen(steep, ay), ay.chosen(steep, ax)
    ratio = small / large
    ratio = Scalars(c, c.constant(0.0, "f").code).chosen(large.compared("==", 0.0), ratio)
    diagonal = small.compared("==", large)  # of infinities too; of zeros the ratio counts
    diagonal = builder.and_(diagonal, large.compared(">", 0.0))
    ratio = Scalars(c, c.constant(1.0, "f").code).chosen(diagonal, ratio)
    wide = ratio.compared(">", math.tan(math.pi / 8))
    t = ((ratio - 1.0) / (ratio + 1.0)).chosen(wide, ratio)
    z = t * t
    angle = _polynomial(z, _ATAN) * z * t + t
    angle = (angle + math.pi / 4).chosen(wide, angle)
    angle = (math.pi / 2 - angle).chosen(steep, angle)
    angle = (math.pi - angle).chosen(_negative(c, x.code), angle)
    function = c.call("copysign", "f", Number(angle.value, "f"), y)
    unknown = builder.fcmp_unordered("uno", x.code, y.code)
    return Number(builder.select(unknown, builder.fadd(x.code, y.code), function.code), "f")


def _wave(c: Codegen, a: Number, shift: int) -> Number:
    """The sine of an angle plus this many quarter turns."""
    builder, x = c.builder, Scalars(c, a.code)
    n = (x * (2.0 / math.pi)).called("rint")
    r = x
    for part in _HALF_PI_PARTS:
        r = r - n * part
    z = r * r
    sin = _polynomial(z, _SIN) * z * r + r
    cos = _polynomial(z, _COS) * z * z - z * 0.5 + 1.0
    whole = c.truncated(n.value)
    quadrant = builder.add(whole, c.literal(shift, "i"))
    one, two = (c.literal(i, "i") for i in (1, 2))
    odd = builder.icmp_signed("!=", builder.and_(quadrant, one), c.literal(0, "i"))
    chosen = cos.chosen(odd, sin)
    sign = builder.shl(builder.and_(quadrant, two), c.literal(30, "i"))
    bits = builder.xor(builder.bitcast(chosen.value, whole.type), sign)
    return Number(builder.bitcast(bits, c.type("f")), "f")


def _polynomial(x: Scalars, factors: tuple[float, ...]) -> Scalars:
    total = x * factors[0] + factors[1]
    for factor in factors[2:]:
        total = total * x + factor
    return total


def _power_of_two(c: Codegen, exponent: Any) -> Scalars:
    bias, places = (c.literal(i, "i") for i in (127, 23))
    bits = c.builder.shl(c.builder.add(exponent, bias), places)
    return Scalars(c, c.builder.bitcast(bits, c.type("f")))


def _negative(c: Codegen, x: Any) -> Any:
    """Whether the sign bit is set, that of -0 too."""
    bits = c.builder.bitcast(x, c.type("i"))
    return c.builder.icmp_signed("<", bits, c.literal(0, "i"))
