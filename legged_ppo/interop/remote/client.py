"""`RemoteVecEnv`: an environment in another interpreter, with the interface of rsl_rl's environments."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import torch

from legged_ppo.errors import WorkerError
from legged_ppo.interop.remote import worker

_OBSERVED = "obs/"
_LAST_LINES, _LAST_BYTES = 3, 8192
_CLOSING_S = 20.0
"""Time that the environment has to close itself."""
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH")
"""Variables that concern this interpreter alone."""


class RemoteVecEnv:
    """A VecEnv of rsl_rl's or legged_gym's interface in a process of its own, for `FromRslRl`.

    What `get_observations` and `step` return are views of the shared memory, valid until the next step. The
    worker ends with this object or with this process, however that ends, and leaves no files.

    Args:
        env: `MODULE:FUNCTION`, or `FILE.py:FUNCTION`, whose folder is then searched for other modules. The
            function returns the environment.
        arguments: keywords of the function, of JSON's types.
        python: the interpreter, or the words of a command that passes open file descriptors on to one.
        variables: added to the worker's environment, which is this process's without PYTHONPATH and PYTHONHOME.
        log: file to which the worker's output is appended; None keeps it for error messages alone.
        start_s, step_s: time limits of the start and of a step [s].

    Raises:
        WorkerError: the worker or the environment cannot start. `step` raises it where the environment raises,
            the worker ends, or a time limit passes.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        env: str,
        arguments: Mapping[str, Any],
        python: str | Path | Sequence[str] = sys.executable,
        *,
        variables: Mapping[str, str] | None = None,
        log: Path | None = None,
        start_s: float = 600.0,
        step_s: float = 60.0,
    ) -> None:
        command = [str(python)] if isinstance(python, (str, Path)) else list(python)
        self._name = f"the environment's worker ({' '.join(command)})"
        self._step_s = step_s
        self._log: IO[bytes] = log.open("ab+") if log else tempfile.TemporaryFile("ab+")
        memory = os.memfd_create("legged_ppo")
        self._connection, theirs = socket.socketpair()
        try:
            self._process = self._start(command, theirs, memory, variables or {})
            self._finish = weakref.finalize(self, _end, self._process, self._connection)
            request = {"env": env, "arguments": dict(arguments)}
            self._describe(self._ask(request, start_s), memory)
        finally:
            theirs.close()
            os.close(memory)

    def _start(
        self, command: list[str], theirs: socket.socket, memory: int, variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        passed = {name: text for name, text in os.environ.items() if name not in _NOT_PASSED_ON}
        descriptors = ["--connection", str(theirs.fileno()), "--memory", str(memory)]
        try:
            return subprocess.Popen(
                [*command, worker.__file__, *descriptors],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=passed | dict(variables),
                pass_fds=(theirs.fileno(), memory),
                start_new_session=True,  # Ctrl-C is the trainer's, which then saves its state
            )
        except OSError as error:
            raise WorkerError(f"{self._name} cannot be started: {error.strerror}") from None
        finally:
            theirs.close()

    def _describe(self, found: dict[str, Any], memory: int) -> None:
        if found["protocol"] != worker.PROTOCOL:
            self._fail(
                f"speaks protocol {found['protocol']}, not {worker.PROTOCOL}: its file has changed"
            )
        self.num_envs: int = found["num_envs"]
        self.num_actions: int = found["num_actions"]
        self.max_episode_length: int = found["max_episode_length"]
        self.python: str = found["python"]
        """Version of the worker's interpreter."""
        self._has_clocks: bool = found["clocks"]
        shared = mmap.mmap(memory, found["size"])
        self._arrays = {
            name: torch.frombuffer(
                shared, dtype=getattr(torch, dtype), count=math.prod(shape), offset=start
            ).view(shape)
            for name, dtype, shape, start in found["arrays"]
        }
        names = [name for name in self._arrays if name.startswith(_OBSERVED)]
        self._groups = {name.removeprefix(_OBSERVED): self._arrays[name] for name in names}

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """[N] int64, steps since each episode's start

        Raises:
            AttributeError: the environment has none.
        """
        if not self._has_clocks:
            raise AttributeError("episode_length_buf")
        self._ask({"do": "read_clocks"}, self._step_s)
        return self._arrays["clocks"].clone()

    @episode_length_buf.setter
    def episode_length_buf(self, lengths: torch.Tensor) -> None:
        self._arrays["clocks"].copy_(lengths)
        self._ask({"do": "write_clocks"}, self._step_s)

    def get_observations(self) -> dict[str, torch.Tensor]:
        """[N, ...] float32 each"""
        return self._groups

    def step(
        self, actions: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Observations, rewards [N], ends [N] bool, and `time_outs` [N] bool and `log` of the step."""
        self._arrays["actions"].copy_(actions)
        logged = self._ask({"do": "step"}, self._step_s)["log"]
        dones, late = self._arrays["dones"].bool(), self._arrays["time_outs"].bool()
        return self._groups, self._arrays["reward"], dones, {"time_outs": late, "log": logged}

    def close(self) -> None:
        """Let the environment close itself, and end the worker; a second call does nothing."""
        if self._finish.alive:
            with contextlib.suppress(WorkerError):
                self._ask({"do": "close"}, _CLOSING_S)
            self._finish()

    def _ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """The worker's answer.

        Raises:
            WorkerError: it raised, ended, or gave none in time; it is no longer running then.
        """
        if not self._finish.alive:
            raise WorkerError(f"{self._name} has ended")
        self._connection.settimeout(limit_s)
        try:
            worker.send(self._connection, request)
            answer = worker.receive(self._connection)
        except TimeoutError:
            self._fail(f"gave no answer within {limit_s:g} s and was killed")
        except ConnectionError:
            answer = None
        if answer is None:
            self._fail(f"ended with {_cause(self._process)}")
        if "error" in answer:
            self._fail(f"raised {answer['error']} ({answer['place']})", quote=False)
        return answer

    def _fail(self, event: str, quote: bool = True) -> NoReturn:
        self._finish()
        end = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), _LAST_BYTES, max(0, end - _LAST_BYTES))
        lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
        last = " | ".join([line for line in lines if line][-_LAST_LINES:])
        raise WorkerError(
            f"{self._name} {event}" + (f"; it said: {last}" if quote and last else "")
        )


def _cause(process: subprocess.Popen[bytes]) -> str:
    """How a process ended that has closed its connection."""
    try:
        code = process.wait(_CLOSING_S)
    except subprocess.TimeoutExpired:
        return "its connection closed"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    """Kill the worker and what it has started, and reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    connection.close()
