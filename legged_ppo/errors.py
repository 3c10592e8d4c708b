"""Errors that mean that the user's input is wrong, and how allocation failures are recognised."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

_LONGEST_VALUE, _LONGEST_EXPECTATION = 150, 400
"""Characters of a value and of an explanation that an error message holds."""
_LONGEST_REPORT = 1000
"""Characters of what another process reports."""


class ConfigError(ValueError):
    """A bad value, reported in one line: where, which key, which value, and what would be right."""

    def __init__(
        self,
        key: str,
        value: Any,
        expected: str,
        *,
        choices: Iterable[str] = (),
        source: str = "",
        meant: str = "",
    ) -> None:
        self.key, self.value, self.expected = key, value, expected
        self.choices, self.source, self.meant = list(choices), source, meant
        super().__init__(key, value, expected)

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        close = [self.meant] if self.meant else []
        close = close or difflib.get_close_matches(
            str(self.value)[:_LONGEST_VALUE], self.choices, n=1
        )
        hint = f"; did you mean {close[0]!r}?" if close else ""
        value = _shortened(_text_of(self.value), _LONGEST_VALUE)
        expected = _shortened(str(self.expected), _LONGEST_EXPECTATION)
        key = _shortened(str(self.key), _LONGEST_VALUE)
        return f"{where}{key}: got {value}, expected {expected}{hint}"


class UsageError(ValueError):
    """Arguments that contradict each other or need what is not installed, reported in one line.

    Args:
        message: the contradiction or the missing part.
        hint: what to do instead.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = message, hint
        super().__init__(message, hint)

    def __str__(self) -> str:
        line = f"{self.message}; {self.hint}" if self.hint else self.message
        return _shortened(line, _LONGEST_EXPECTATION)


class WriteError(OSError):
    """A file or folder that cannot be written, as on a full disk; the message is one line."""

    @classmethod
    def of(cls, path: Path, error: Exception) -> WriteError:
        """The error of `path`, caused by `error`."""
        reason = getattr(error, "strerror", None) or error
        return cls(_shortened(f"cannot write {path}: {reason}", _LONGEST_EXPECTATION))


class WorkerError(RuntimeError):
    """The process of an environment in another interpreter failed; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(_shortened(message, _LONGEST_REPORT))


@contextlib.contextmanager
def noting_sizes(sizes: Callable[[], str]) -> Iterator[None]:
    """Add the line `sizes()` as a note to an out-of-memory error raised inside."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            error.add_note(sizes())
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch (any device), its libraries, Warp or Python could not allocate."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    phrases = ("out of memory", "failed to allocate", "can't allocate memory", "alloc_failed")
    return isinstance(error, RuntimeError) and any(words in text for words in phrases)


def _text_of(value: Any) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        return f"a {type(value).__name__}"


def _shortened(text: str, length: int) -> str:
    """One line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."
