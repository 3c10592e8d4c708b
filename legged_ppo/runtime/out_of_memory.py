"""Recognise allocation failures, and note the sizes that caused them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


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
