"""Serves an environment of rsl_rl's or legged_gym's interface to a trainer in another process.

`RemoteVecEnv` starts this file in an interpreter of Python 3.7 or later that has NumPy and whatever the
environment needs: legged_ppo is not imported, torch only where the environment uses it. A socket carries requests
and answers (JSON after a length of 4 bytes); observations, actions, rewards and ends lie in shared memory.
"""

from __future__ import annotations

import argparse
import importlib
import json
import mmap
import os
import select
import socket
import struct
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]

PROTOCOL = 1
_HEADER = struct.Struct("!I")
_ALIGNMENT = 64
"""Bytes; arrays start at multiples of it."""


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    text = json.dumps(message).encode()
    connection.sendall(_HEADER.pack(len(text)) + text)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next message; None where the other side has gone.

    Raises:
        socket.timeout: the connection's time limit passed.
    """
    header = _exactly(connection, _HEADER.size)
    text = header and _exactly(connection, _HEADER.unpack(header)[0])
    return json.loads(text) if text else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    """That many bytes; none where the other side has gone."""
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(size - len(parts))
        except ConnectionError:
            return b""
        if not part:
            return b""
        parts += part
    return bytes(parts)


def first_groups(env: Any) -> dict[str, Any]:
    """Observation groups before the first step; legged_gym's environments are reset by this."""
    observed = env.get_observations()
    if hasattr(observed, "items"):
        return groups_of(observed)
    if isinstance(observed, tuple):  # with extras
        return groups_of(*observed)
    observed, privileged = env.reset()
    return groups_of(observed, {}, privileged)


def groups_of(
    observed: Any, extras: dict[str, Any] | None = None, privileged: Any = None
) -> dict[str, Any]:
    """Observation groups by name, of any version's interface: a mapping (rsl_rl 3 and later), a tensor with
    others in the extras (rsl_rl 2), or a tensor and the critic's (rsl_rl 1, legged_gym)."""
    if hasattr(observed, "items"):
        return dict(observed.items())
    groups = {"policy": observed}
    groups.update((extras or {}).get("observations", {}))
    if privileged is not None:
        groups["critic"] = privileged
    return groups


def logged_of(extras: dict[str, Any]) -> dict[str, Any]:
    """Figures of a step by name: `log` of Isaac Lab and mjlab, `episode` of legged_gym."""
    return extras.get("log") or extras.get("episode") or {}


def load(name: str) -> Any:
    """The function that `MODULE:FUNCTION` or `FILE.py:FUNCTION` names; a file's folder is searched for others."""
    place, _, function = name.rpartition(":")
    if place.endswith(".py"):
        sys.path.insert(0, str(Path(place).resolve().parent))
        place = Path(place).stem
    return getattr(importlib.import_module(place), function)


class Server:
    """One environment and its arrays in shared memory.

    Args:
        memory: file descriptor of a memory file, whose size this sets.
    """

    def __init__(self, env: Any, memory: int) -> None:
        self.env = env
        groups = first_groups(env)
        self._torch = sys.modules.get("torch") if hasattr(_any(groups), "detach") else None
        if self._torch:
            self._torch.set_grad_enabled(False)
        count = int(env.num_envs)
        layout = [("obs/" + name, "float32", _array(groups[name]).shape) for name in sorted(groups)]
        layout += [("actions", "float32", (count, int(env.num_actions)))]
        layout += [("reward", "float32", (count,)), ("clocks", "int64", (count,))]
        layout += [(name, "uint8", (count,)) for name in ("dones", "time_outs")]
        self.arrays: list[list[Any]] = []
        """Name, type, shape and first byte of each."""
        end = 0
        for name, dtype, shape in layout:
            self.arrays.append([name, dtype, list(shape), end])
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            end += -(-size // _ALIGNMENT) * _ALIGNMENT
        os.ftruncate(memory, end)
        self._shared = mmap.mmap(memory, end)
        self._views = {
            name: np.frombuffer(self._shared, dtype, int(np.prod(shape)), start).reshape(shape)
            for name, dtype, shape, start in self.arrays
        }
        self._write_groups(groups)

    def description(self) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "python": sys.version.split()[0],
            "num_envs": int(self.env.num_envs),
            "num_actions": int(self.env.num_actions),
            "max_episode_length": int(getattr(self.env, "max_episode_length", 0)),
            "clocks": hasattr(self.env, "episode_length_buf"),
            "arrays": self.arrays,
            "size": len(self._shared),
        }

    def step(self) -> dict[str, Any]:
        """One step with the shared actions; the answer has what was logged."""
        outcome = self.env.step(self._given("actions"))
        observed, privileged, (reward, dones, extras) = outcome[0], outcome[1:-3], outcome[-3:]
        self._write_groups(groups_of(observed, extras, *privileged))
        self._views["reward"][:] = _array(reward)
        ended = _array(dones).astype(bool)
        late = extras.get("time_outs")
        self._views["dones"][:] = ended
        self._views["time_outs"][:] = 0 if late is None else _array(late).astype(bool) & ended
        logged = logged_of(extras)
        return {"log": {name: float(_array(logged[name]).mean()) for name in logged}}

    def read_clocks(self) -> dict[str, Any]:
        self._views["clocks"][:] = _array(self.env.episode_length_buf)
        return {}

    def write_clocks(self) -> dict[str, Any]:
        self.env.episode_length_buf = self._given("clocks")
        return {}

    def close(self) -> dict[str, Any]:
        if hasattr(self.env, "close"):
            self.env.close()
        return {}

    def _write_groups(self, groups: dict[str, Any]) -> None:
        for name, *_ in self.arrays:
            if name.startswith("obs/"):
                self._views[name][...] = _array(groups[name[4:]])

    def _given(self, name: str) -> Any:
        """A copy of what the trainer wrote, of the kind and on the device of the observations."""
        values = self._views[name].copy()
        if self._torch:
            return self._torch.from_numpy(values).to(self.env.device)
        return values


def _any(groups: dict[str, Any]) -> Any:
    return next(iter(groups.values()))


def _array(value: Any) -> Any:
    """A tensor of any device, an array or a number as a NumPy array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _end_with(connection: socket.socket) -> None:
    """End this process when the trainer's has ended, even in the middle of a step."""
    waiting = select.poll()
    waiting.register(connection, 0)  # reports only that the other side has gone
    waiting.poll()
    os._exit(1)


def _serve(connection: socket.socket, memory: int) -> None:
    request = receive(connection)
    if request is None:
        return
    if np is None:
        raise ImportError("this interpreter has no numpy")
    server = Server(load(request["env"])(**request["arguments"]), memory)
    send(connection, server.description())
    while True:
        request = receive(connection)
        if request is None:
            return
        send(connection, getattr(server, request["do"])())
        if request["do"] == "close":
            return


def main() -> None:
    parser = argparse.ArgumentParser(description="Started by RemoteVecEnv.")
    parser.add_argument("--connection", type=int, required=True, help="descriptor of the socket")
    parser.add_argument("--memory", type=int, required=True, help="descriptor of the memory file")
    arguments = parser.parse_args()
    for descriptor in (arguments.connection, arguments.memory):
        os.set_inheritable(descriptor, False)
    connection = socket.socket(fileno=arguments.connection)
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    sys.argv = sys.argv[:1]  # environments parse it too
    sys.path[0] = str(Path.cwd())
    try:
        _serve(connection, arguments.memory)
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        line = traceback.format_exception_only(type(error), error)[-1].strip()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        send(connection, {"error": line, "place": f"{frame.filename}:{frame.lineno}"})
        os._exit(1)


if __name__ == "__main__":
    main()
