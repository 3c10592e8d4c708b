"""Scalars of TensorBoard's event files, by their framing and protobuf alone.

TensorBoard's own reader keeps every event of a file, pictures included, and is many times slower. A record that
is damaged or cut ends a file; checksums are not compared.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_LENGTH, _FRAME = struct.Struct("<Q"), 16
"""A record is its length (8 bytes), a checksum (4), the event, a checksum (4)."""
_LARGEST = 4096
"""Bytes of an event beyond which it holds a picture or a text, no scalar."""


def read_events(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The scalars of event files as rows of a metrics.jsonl, one a step, in the order of the steps.

    `env_steps` and `iteration` are the step that the file has: environment steps in runs of this package,
    iterations in those of rsl_rl. Of values that were written twice the last is kept.
    """
    rows: dict[int, dict[str, Any]] = {}
    for path in sorted(paths):
        for step, name, value in _scalars(path):
            rows.setdefault(step, {"iteration": step, "env_steps": step})[name] = value
    return [rows[step] for step in sorted(rows)]


def _scalars(path: Path) -> Iterator[tuple[int, str, float]]:
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    for content in _records(path.read_bytes()):
        try:
            event = Event.FromString(content)
        except DecodeError:
            return
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                yield event.step, value.tag, value.simple_value


def _records(data: bytes) -> Iterator[bytes]:
    """The events of a file but those that are too large for scalars."""
    place = 0
    while place + _FRAME <= len(data):
        (length,) = _LENGTH.unpack_from(data, place)
        start = place + 12
        if start + length > len(data):
            return
        if length <= _LARGEST:
            yield data[start : start + length]
        place = start + length + 4
