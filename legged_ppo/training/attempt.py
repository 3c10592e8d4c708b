"""Writing a checkpoint that the training can do without."""

from __future__ import annotations

import logging
from collections.abc import Callable

from legged_ppo.errors import WriteError
from legged_ppo.runtime import distributed

_log = logging.getLogger(__name__)


def attempt(save: Callable[[], object], consequence: str) -> bool:
    """Let the first rank `save`, with a warning that ends in `consequence` where the disk does not allow it.

    A collective operation: every rank must call it.

    Returns:
        whether it was written, on every rank.
    """
    written = True
    if distributed.is_main():
        try:
            save()
        except WriteError as error:
            _log.warning("%s; training goes on, %s", error, consequence)
            written = False
    return distributed.from_main(written)
