"""Warp's library with the device code of one kind of GPU.

The stock library holds its own device code for a dozen compute capabilities. Code of the others is overwritten
with zeros, so that all offsets stay. The compiler of new kernels that Warp carries is host code and stays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = b"\x50\xed\x55\xba"
_CONTAINER = struct.Struct("<4sHHQ")
"""Magic, version, size of this header, size of the entries."""
_ENTRY = struct.Struct("<HHIQ12xI")
"""Kind, version, size of this header, size of the code, ..., compute capability times ten."""
_KINDS = (1, 2)
"""PTX and machine code."""
_SMALLEST_HEADER, _LARGEST_HEADER = 64, 4096


@dataclass(frozen=True)
class DeviceCode:
    """A stretch of a library: `size` bytes from `start` on for a compute capability (times ten)."""

    start: int
    size: int
    arch: int


def slim(library: bytearray, arch: int) -> int:
    """Overwrite the device code of other architectures; returns the number of bytes.

    A fat binary that has no code for `arch` is kept whole, because its kernels would have nothing to run.
    """
    zeroed = 0
    for codes in fat_binaries(library):
        if any(code.arch == arch for code in codes):
            for code in codes:
                if code.arch != arch:
                    library[code.start : code.start + code.size] = bytes(code.size)
                    zeroed += code.size
    return zeroed


def fat_binaries(library: bytes | bytearray) -> Iterator[list[DeviceCode]]:
    """The device code of each fat binary that can be read to its end.

    The format is not documented; this is what `cuobjdump` shows of it.
    """
    at = library.find(_MAGIC)
    while 0 <= at <= len(library) - _CONTAINER.size:
        codes, end = _entries(library, at)
        if codes:
            yield codes
        at = library.find(_MAGIC, end if codes else at + 1)


def _entries(library: bytes | bytearray, at: int) -> tuple[list[DeviceCode], int]:
    """The entries of the container at a place, and its end; none if it is not one after all."""
    _, _, header, size = _CONTAINER.unpack_from(library, at)
    place, end = at + header, at + header + size
    if header != _CONTAINER.size or end > len(library):
        return [], at
    codes = []
    while place + _SMALLEST_HEADER <= end:
        kind, _, header, size, arch = _ENTRY.unpack_from(library, place)
        fits = _SMALLEST_HEADER <= header <= _LARGEST_HEADER and place + header + size <= end
        if kind not in _KINDS or not fits:
            return [], at
        codes.append(DeviceCode(place + header, size, arch))
        place += header + size
    return codes, end
