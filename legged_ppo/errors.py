"""The one error that means: the user's input is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class ConfigError(ValueError):
    """Bad input, told in one line: where, which key, which value, and what would be right."""

    def __init__(
        self,
        key: str,
        value: Any,
        expected: str,
        *,
        choices: Iterable[str] = (),
        source: str = "",
    ) -> None:
        self.key, self.value, self.expected = key, value, expected
        self.choices, self.source = list(choices), source
        super().__init__(key, value, expected)

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        close = difflib.get_close_matches(str(self.value), self.choices, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{where}{self.key}: got {self.value!r}, expected {self.expected}{hint}"
