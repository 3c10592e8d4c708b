"""Operators that work on each entry alone: from the numbers of their arguments to the number of the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from legged_ppo.runtime.fusion.codegen import Codegen, Number
from legged_ppo.runtime.fusion.elementary import arctangent2, cosine, exponential, sine
from legged_ppo.runtime.fusion.graph import Node, UnfusableError

Values = list[Any]
"""Numbers, and numbers of Python's."""
Operator = Callable[[Codegen, Node, Values], Number]


def _as(c: Codegen, value: Any, kind: str) -> Number:
    if isinstance(value, Number):
        return c.converted(value, kind)
    return c.constant(value, kind)


def _promoted(values: Values) -> str:
    """The kind in which numbers are compared."""
    kinds = [v.kind if isinstance(v, Number) else _kind_of(v) for v in values]
    return max(kinds, key="bif".index)


def _kind_of(value: Any) -> str:
    return "b" if isinstance(value, bool) else "i" if isinstance(value, int) else "f"


def _unary(function: Callable[[Codegen, Number], Number]) -> Operator:
    return lambda c, node, v: function(c, _as(c, v[0], node.kind))


def _intrinsic(name: str) -> Operator:
    return _unary(lambda c, a: c.call(name, "f", a))


def _whole(name: str) -> Operator:
    """Roundings, which leave integers."""
    return _unary(lambda c, a: a if a.kind == "i" else c.call(name, "f", a))


def _binary(function: Callable[[Codegen, Number, Number], Number]) -> Operator:
    return lambda c, node, v: function(c, _as(c, v[0], node.kind), _as(c, v[1], node.kind))


def _comparison(operation: str) -> Operator:
    def compared(c: Codegen, node: Node, v: Values) -> Number:
        kind = _promoted(v[:2])
        a, b = (_as(c, value, kind).code for value in v[:2])
        if kind != "f":
            compare = c.builder.icmp_unsigned if kind == "b" else c.builder.icmp_signed
        else:
            compare = c.builder.fcmp_unordered if operation == "!=" else c.builder.fcmp_ordered
        return Number(compare(operation, a, b), "b")

    return compared


def _bits(operation: str, kind: str | None = None) -> Operator:
    def combined(c: Codegen, node: Node, v: Values) -> Number:
        a, b = (_as(c, value, kind or node.kind) for value in v[:2])
        return Number(getattr(c.builder, operation)(a.code, b.code), a.kind)

    return combined


def _not(c: Codegen, node: Node, v: Values) -> Number:
    logical = node.name == "logical_not"
    a = _as(c, v[0], "b" if logical else node.kind)
    return Number(c.builder.not_(a.code), a.kind)


def _op(c: Codegen, operation: str, a: Number, b: Number) -> Number:
    """fadd, fsub, fmul or the same of integers."""
    if a.kind == "b":
        operation = {"mul": "and_", "add": "or_"}[operation]
    prefix = "f" if a.kind == "f" else ""
    return Number(getattr(c.builder, prefix + operation)(a.code, b.code), a.kind)


def add(c: Codegen, a: Number, b: Number) -> Number:
    return _op(c, "add", a, b)


def multiply(c: Codegen, a: Number, b: Number) -> Number:
    return _op(c, "mul", a, b)


def _scaled_sum(operation: str, reverse: bool = False) -> Operator:
    def combined(c: Codegen, node: Node, v: Values) -> Number:
        a, b = (_as(c, value, node.kind) for value in v[:2])
        alpha = node.argument(2, "alpha", 1)
        if reverse:
            a, b = b, a
        if alpha != 1:
            b = _op(c, "mul", b, c.constant(alpha, node.kind))
        return _op(c, operation, a, b)

    return combined


def _divide(c: Codegen, node: Node, v: Values) -> Number:
    mode = node.argument(2, "rounding_mode")
    if node.name == "floor_divide":
        mode = "floor"
    if node.kind == "i":
        if mode != "floor":
            raise UnfusableError(f"division of integers with rounding_mode {mode}")
        return _floor_divide(c, _as(c, v[0], "i"), _as(c, v[1], "i"))
    if mode is not None:
        raise UnfusableError(f"division with rounding_mode {mode}")
    a, b = (_as(c, value, "f").code for value in v[:2])
    return Number(c.builder.fdiv(a, b), "f")


def _floor_divide(c: Codegen, a: Number, b: Number) -> Number:
    """Of integers; a zero divisor, which is an error in torch, counts as 1.

    A CPU traps where a quotient overflows, so that of -1 is a negation.
    """
    builder, zero, one = c.builder, c.constant(0, "i").code, c.constant(1, "i").code
    opposite = builder.icmp_signed("==", b.code, c.constant(-1, "i").code)
    trivial = builder.or_(opposite, builder.icmp_signed("==", b.code, zero))
    divisor = builder.select(trivial, one, b.code)
    quotient = builder.sdiv(a.code, divisor)
    rest = builder.sub(a.code, builder.mul(quotient, divisor))
    inexact = builder.icmp_signed("!=", rest, zero)
    signs_differ = builder.icmp_signed("<", builder.xor(rest, divisor), zero)
    below = builder.sub(quotient, one)
    quotient = builder.select(builder.and_(inexact, signs_differ), below, quotient)
    return Number(builder.select(opposite, builder.neg(a.code), quotient), "i")


def _remainder(c: Codegen, node: Node, v: Values) -> Number:
    """Python's modulo, as exact as torch's where the quotient is below 2^24."""
    a, b = (_as(c, value, node.kind) for value in v[:2])
    builder = c.builder
    if node.kind == "i":
        quotient = _floor_divide(c, a, b)
        return Number(builder.sub(a.code, builder.mul(quotient.code, b.code)), "i")
    # A correctly rounded quotient is never below a whole number that the true one has reached, so it can only
    # be one too large: then the rest has the wrong sign.
    quotient = c.call("floor", "f", Number(builder.fdiv(a.code, b.code), "f"))
    rest = c.call("fma", "f", Number(builder.fneg(quotient.code), "f"), b, a).code
    zero = c.constant(0.0, "f").code
    # Of an infinite divisor too, whose product with 0 is NaN.
    rest = builder.select(builder.fcmp_ordered("==", quotient.code, zero), a.code, rest)
    below, negative = (builder.fcmp_ordered("<", x, zero) for x in (rest, b.code))
    wrong = builder.xor(below, negative)
    wrong = builder.and_(wrong, builder.fcmp_ordered("!=", rest, zero))
    return Number(builder.select(wrong, builder.fadd(rest, b.code), rest), "f")


def larger(c: Codegen, a: Number, b: Number) -> Number:
    """The maximum; NaN where one of them is."""
    return _extreme(c, a, b, ">")


def smaller(c: Codegen, a: Number, b: Number) -> Number:
    """The minimum; NaN where one of them is."""
    return _extreme(c, a, b, "<")


def _extreme(c: Codegen, a: Number, b: Number, operation: str) -> Number:
    builder = c.builder
    if a.kind != "f":
        compare = builder.icmp_unsigned if a.kind == "b" else builder.icmp_signed
        return c.select(Number(compare(operation, a.code, b.code), "b"), a, b)
    first = builder.fcmp_ordered(operation, a.code, b.code)
    first = builder.or_(first, builder.fcmp_unordered("uno", a.code, a.code))
    return c.select(Number(first, "b"), a, b)


def _clamp(c: Codegen, node: Node, v: Values) -> Number:
    places = {"clamp_min": (1, None), "clamp_max": (None, 1)}.get(node.name, (1, 2))
    result = _as(c, v[0], node.kind)
    for place, function in zip(places, (larger, smaller), strict=True):
        bound = v[place] if place is not None and place < len(v) else None
        if bound is not None:
            result = function(c, result, _as(c, bound, node.kind))
    return result


def _where(c: Codegen, node: Node, v: Values) -> Number:
    a, b = (_as(c, value, node.kind) for value in v[1:3])
    return c.select(_as(c, v[0], "b"), a, b)


def _masked_fill(c: Codegen, node: Node, v: Values) -> Number:
    return c.select(_as(c, v[1], "b"), _as(c, v[2], node.kind), _as(c, v[0], node.kind))


def _power(c: Codegen, node: Node, v: Values) -> Number:
    exponent = v[1]
    if isinstance(exponent, Number) or exponent not in (0.5, 1, 2, 3):
        raise UnfusableError("pow with an exponent other than 0.5, 1, 2 or 3")
    a = _as(c, v[0], node.kind)
    if exponent == 0.5:
        return c.call("sqrt", "f", a)
    result = a
    for _ in range(int(exponent) - 1):
        result = multiply(c, result, a)
    return result


def _lerp(c: Codegen, node: Node, v: Values) -> Number:
    a, b, weight = (_as(c, value, "f").code for value in v[:3])
    builder = c.builder
    difference, one = builder.fsub(b, a), c.constant(1.0, "f").code
    size = c.call("fabs", "f", Number(weight, "f")).code
    below = builder.fcmp_ordered("<", size, c.constant(0.5, "f").code)
    from_a = builder.fadd(a, builder.fmul(weight, difference))
    from_b = builder.fsub(b, builder.fmul(difference, builder.fsub(one, weight)))
    return Number(builder.select(below, from_a, from_b), "f")


def _addcmul(c: Codegen, node: Node, v: Values) -> Number:
    if node.kind != "f":
        raise UnfusableError("addcmul of integers")
    a, b, d = (_as(c, value, "f").code for value in v[:3])
    scale = node.kwargs.get("value", 1)
    if scale != 1:
        b = c.builder.fmul(c.constant(scale, "f").code, b)
    return Number(c.builder.fadd(a, c.builder.fmul(b, d)), "f")


def _negate(c: Codegen, a: Number) -> Number:
    if a.kind == "f":
        return Number(c.builder.fneg(a.code), "f")
    return Number(c.builder.neg(a.code), a.kind)


def _absolute(c: Codegen, a: Number) -> Number:
    if a.kind == "f":
        return c.call("fabs", "f", a)
    return larger(c, a, _negate(c, a))


def _reciprocal(c: Codegen, a: Number) -> Number:
    return Number(c.builder.fdiv(c.constant(1.0, "f").code, a.code), "f")


def _nan(c: Codegen, node: Node, v: Values) -> Number:
    a = _as(c, v[0], "f")
    return Number(c.builder.fcmp_unordered("uno", a.code, a.code), "b")


POINTWISE: dict[str, Operator] = {
    "add": _scaled_sum("add"),
    "sub": _scaled_sum("sub"),
    "rsub": _scaled_sum("sub", reverse=True),
    "mul": _binary(multiply),
    "div": _divide,
    "floor_divide": _divide,
    "remainder": _remainder,
    "neg": _unary(_negate),
    "abs": _unary(_absolute),
    "reciprocal": _unary(_reciprocal),
    "sqrt": _intrinsic("sqrt"),
    "floor": _whole("floor"),
    "ceil": _whole("ceil"),
    "trunc": _whole("trunc"),
    "round": _whole("rint"),
    "exp": _unary(exponential),
    "sin": _unary(sine),
    "cos": _unary(cosine),
    "atan2": _binary(arctangent2),
    "pow": _power,
    "minimum": _binary(smaller),
    "maximum": _binary(larger),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "lerp": _lerp,
    "addcmul": _addcmul,
    "where": _where,
    "masked_fill": _masked_fill,
    "lt": _comparison("<"),
    "le": _comparison("<="),
    "gt": _comparison(">"),
    "ge": _comparison(">="),
    "eq": _comparison("=="),
    "ne": _comparison("!="),
    "isnan": _nan,
    "logical_not": _not,
    "bitwise_not": _not,
    "logical_and": _bits("and_", "b"),
    "logical_or": _bits("or_", "b"),
    "logical_xor": _bits("xor", "b"),
    "bitwise_and": _bits("and_"),
    "bitwise_or": _bits("or_"),
    "bitwise_xor": _bits("xor"),
    "copy": _unary(lambda c, a: a),
    "clone": _unary(lambda c, a: a),
    "_to_copy": _unary(lambda c, a: a),
}
