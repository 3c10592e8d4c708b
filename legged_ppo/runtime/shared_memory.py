"""Sums over the processes of one machine, through memory that they share (Linux).

A sum takes one exchange of semaphores, without a socket or a thread in between, so that a process for each core
leaves the cores to the training. All processes add up in the same order and get the same bits.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

SLOT_BYTES = 2**26
"""Largest sum. Pages that no sum has reached take no memory."""
_SEMAPHORE_BYTES = 64
"""A cache line, with room for a `sem_t`."""
_WATCH_S = 2e-3
"""Time for which a process watches for another one before it sleeps; to wake up takes some 50 us."""
_SLEEP_S = 2
"""Time, at most, after which a sleeping process looks whether the other one still runs."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class SharedMemorySum:
    """Sums over K processes, all of which make the same calls in the same order.

    Args:
        rank: number of this process, from 0.
        ranks: K.
        gather: makes a list of the values of all processes, in order; used here alone.

    Raises:
        OSError: in all processes, where one of them cannot reach the first one's memory.
    """

    def __init__(self, rank: int, ranks: int, gather: Callable[[Any], list[Any]]) -> None:
        self._rank, self._ranks, self._turn = rank, range(ranks), 0
        self._library = ctypes.CDLL(None)
        self._head = -(-ranks * ranks * _SEMAPHORE_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        size = self._head + 2 * ranks * SLOT_BYTES
        file = self._create(size) if rank == 0 else None
        owners = gather((os.getpid(), file))
        error = self._join(owners, size)
        errors = gather(error)  # until then the first one keeps its file open
        if file is not None:
            os.close(file)
        if any(errors):
            raise OSError(next(filter(None, errors)))

    def __call__(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The elements of all parts, one after the other, summed over the processes.

        Args:
            parts: CPU tensors of one type, `SLOT_BYTES` in all at most.

        Raises:
            RuntimeError: another process has ended.
        """
        # A process comes back to a slot after the others posted the sum in between: they have read it.
        self._turn = 1 - self._turn
        size = sum(part.nbytes for part in parts)
        slots = [slot[:size].view(parts[0].dtype) for slot in self._slots[self._turn]]
        torch.cat([part.detach().reshape(-1) for part in parts], out=slots[self._rank])
        others = [rank for rank in self._ranks if rank != self._rank]
        for other in others:
            self._library.sem_post(self._semaphore(other, self._rank))
        for other in others:
            self._wait(other)
        total = slots[0] + slots[1]
        for slot in slots[2:]:
            total += slot
        return total

    def _create(self, size: int) -> int | None:
        """The first process's file, mapped; None where the system has no such files."""
        try:
            file = os.memfd_create("legged_ppo")
            os.ftruncate(file, size)
            self._map(file, size)
        except OSError:
            return None
        for number in range(len(self._ranks) ** 2):
            self._library.sem_init(self._semaphore(0, number), 1, 0)
        return file

    def _join(self, owners: list[tuple[int, int | None]], size: int) -> str | None:
        """Map the first process's memory and watch all processes; returns what is in the way."""
        pid, number = owners[0]
        if number is None:
            return "the first process has no memory to share"
        try:
            if self._rank > 0:
                file = os.open(f"/proc/{pid}/fd/{number}", os.O_RDWR)
                try:
                    self._map(file, size)
                finally:
                    os.close(file)
            self._processes = [os.pidfd_open(pid) for pid, _ in owners]
        except OSError as error:
            return str(error)
        return None

    def _map(self, file: int, size: int) -> None:
        self._memory = mmap.mmap(file, size)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        slots = torch.frombuffer(self._memory, dtype=torch.uint8, offset=self._head)
        self._slots = slots.view(2, len(self._ranks), SLOT_BYTES)

    def _semaphore(self, owner: int, sender: int) -> ctypes.c_void_p:
        """The semaphore for which `owner` waits until `sender` has come."""
        number = owner * len(self._ranks) + sender
        return ctypes.c_void_p(self._address + number * _SEMAPHORE_BYTES)

    def _wait(self, other: int) -> None:
        """Wait until another process has come to this sum."""
        semaphore = self._semaphore(self._rank, other)
        until = time.monotonic() + _WATCH_S
        while self._library.sem_trywait(semaphore):
            if time.monotonic() < until:
                os.sched_yield()
            elif self._sleep(semaphore):
                return
            elif self._has_ended(other):
                if self._library.sem_trywait(semaphore):  # else it came to this sum first
                    raise RuntimeError(f"the process of rank {other} has ended")
                return

    def _sleep(self, semaphore: ctypes.c_void_p) -> bool:
        """Whether the semaphore was posted within `_SLEEP_S`."""
        limit = _Timespec(int(time.time()) + _SLEEP_S, 0)
        return self._library.sem_timedwait(semaphore, ctypes.byref(limit)) == 0

    def _has_ended(self, other: int) -> bool:
        return bool(select.select([self._processes[other]], [], [], 0)[0])
