"""Bounds of configuration values, written with the field that they limit.

`gamma: float = open_share(0.99)` declares a field with a default and a bound; `validate` reads the bound
from the field's metadata. A field of type `X | None` accepts null as well.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

LARGEST_FLOAT, LARGEST_INTEGER = 1e9, 10**15
"""Magnitudes above which a value is refused wherever it stands: products of such values overflow float32."""
_METADATA_KEY = "bound"


@dataclass(frozen=True)
class Bound:
    """A condition on one value and its description for the error message."""

    allowed: Callable[[Any], bool]
    expected: str


def bound_of(item: Field[Any]) -> Bound | None:
    """The bound declared with a dataclass field."""
    return item.metadata.get(_METADATA_KEY)


def broken_magnitude(value: Any) -> str:
    """What is allowed where `value` holds nan, inf or an absurd magnitude, at any depth; '' where it does not."""
    for number in _numbers(value):
        if isinstance(number, float) and not math.isfinite(number):
            return "finite numbers"
        limit = LARGEST_FLOAT if isinstance(number, float) else LARGEST_INTEGER
        if abs(number) > limit:
            return f"numbers of magnitude at most {float(limit):g}"
    return ""


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _numbers(each)


def bounded(default: T, allowed: Callable[[Any], bool], expected: str) -> T:
    """A dataclass field with this default and bound."""
    metadata = {_METADATA_KEY: Bound(allowed, expected)}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def number(default: T) -> T:
    """Any finite number, or numbers, of sensible magnitude."""
    return bounded(default, lambda x: True, "a finite number")


def positive(default: T, most: float = math.inf) -> T:
    """A number above 0, at most `most`."""
    limit = "" if math.isinf(most) else f", at most {most:g}"
    return bounded(default, lambda x: 0 < x <= most, f"a number > 0{limit}")


def not_negative(default: T, most: float = math.inf) -> T:
    """A number from 0, at most `most`."""
    limit = "" if math.isinf(most) else f", at most {most:g}"
    return bounded(default, lambda x: 0 <= x <= most, f"a number >= 0{limit}")


def between(default: T, low: float, high: float) -> T:
    """A number from `low` to `high`."""
    return bounded(default, lambda x: low <= x <= high, f"a number from {low:g} to {high:g}")


def share(default: T) -> T:
    """A number from 0 to 1."""
    return between(default, 0, 1)


def open_share(default: T) -> T:
    """A number above 0, at most 1."""
    return bounded(default, lambda x: 0 < x <= 1, "a number above 0, at most 1")


def one_of(default: T, *others: T) -> T:
    """The default or one of the others."""
    choices = (default, *others)
    return bounded(default, lambda x: x in choices, f"one of {', '.join(map(str, choices))}")


def widths(default: list[int], length: int | None = None) -> list[int]:
    """Layer widths above 0; `length` of them where it is given."""
    expected = f"{length or 'at most 16'} layer widths from 1 to 16384"

    def allowed(x: list[int]) -> bool:
        right = len(x) <= 16 if length is None else len(x) == length
        return right and all(0 < width <= 16384 for width in x)

    return bounded(default, allowed, expected)


def low_high(
    default: list[float], *, low: float = -math.inf, above: float = -math.inf, empty: bool = False
) -> list[float]:
    """A range [low, high]; from `low`, or strictly above `above`; [] too where `empty`."""
    start = "low"
    if low > -math.inf:
        start = f"{low:g} <= low"
    elif above > -math.inf:
        start = f"{above:g} < low"
    none = ", or [] for none" if empty else ""

    def allowed(x: list[float]) -> bool:
        if not x:
            return empty
        return len(x) == 2 and x[0] <= x[1] and x[0] >= low and x[0] > above

    relation = f"[low, high] with {start} <= high{none}"
    return bounded(default, allowed, relation)


def gains(default: float, zero: bool = False) -> Any:
    """A number above 0 (from 0 where `zero`), or a list of such numbers in the order of the joints."""
    expected = f"a number {'>=' if zero else '>'} 0, or a list of them in the order of robot.joints"

    def allowed(x: Any) -> bool:
        each = x if isinstance(x, list) else [x]
        numbers = bool(each) and all(type(gain) in (int, float) for gain in each)
        return numbers and all(gain > 0 or (zero and gain == 0) for gain in each)

    return bounded(default, allowed, expected)


def harder(default: list[float]) -> list[float]:
    """A size at difficulty 0 and 1 that grows with the difficulty."""
    return bounded(
        default,
        lambda x: len(x) == 2 and 0 <= x[0] <= x[1],
        "[easiest, hardest] with 0 <= easiest <= hardest",
    )


def shrinking(default: list[float]) -> list[float]:
    """A size at difficulty 0 and 1 that shrinks with the difficulty."""
    return bounded(
        default,
        lambda x: len(x) == 2 and x[0] >= x[1] > 0,
        "[easiest, hardest] with easiest >= hardest > 0",
    )


def coordinates(default: list[float]) -> list[float]:
    """At least one coordinate [m] within 100 m."""
    return bounded(
        default,
        lambda x: 0 < len(x) <= 1000 and all(abs(each) <= 100 for each in x),
        "at least one coordinate, each within 100 m",
    )


def names(default: list[str]) -> list[str]:
    """Names, each there once."""

    def allowed(x: list[str]) -> bool:
        return all(x) and all(isinstance(name, str) for name in x) and len(set(x)) == len(x) <= 100

    return bounded(default, allowed, "at most 100 different names")


def indices(default: list[int]) -> list[int]:
    """Integers from 0."""
    return bounded(default, lambda x: all(each >= 0 for each in x), "indices >= 0")


def shares(default: dict[str, float]) -> dict[str, float]:
    """Shares from 0 with a positive sum; {} too."""
    return bounded(
        default,
        lambda x: not x or (min(x.values()) >= 0 and sum(x.values()) > 0),
        "shares >= 0 with a positive sum",
    )


def weights(default: dict[str, float]) -> dict[str, float]:
    """Finite numbers by name."""
    return bounded(default, lambda x: len(x) <= 100, "at most 100 finite numbers by name")
