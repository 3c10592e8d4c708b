"""What a browser sends to the web view, on a connection of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import viser
from websockets.sync.client import connect

from legged_ppo.viewer.web import WebView

_CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": (1.0, 0.0, 0.0, 0.0),
    "position": (1.0, 0.0, 1.0),
    "fov": 1.0,
    "near": 0.1,
    "far": 100.0,
    "image_height": 100,
    "image_width": 100,
    "look_at": (0.0, 0.0, 0.0),
    "up_direction": (0.0, 0.0, 1.0),
}


class Client:
    """A connection that speaks viser's protocol."""

    def __init__(self, view: WebView) -> None:
        self._view, self._number = view, 0
        self._socket = connect(
            view.address.replace("http", "ws"),
            subprotocols=[f"viser-v{viser.__version__}"],
            max_size=None,
            proxy=None,
        )
        self._send(_CAMERA)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def set(self, control: Any, value: Any) -> None:
        """Move a slider, tick a box, press a button."""
        updates = {"value": value}
        self._send({"type": "GuiUpdateMessage", "uuid": control._impl.uuid, "updates": updates})

    def press(self, label: str) -> None:
        """The key of a command."""
        commands = self._view.server.gui._command_handle_from_uuid
        (uuid,) = (uuid for uuid, command in commands.items() if command.label == label)
        self._send({"type": "CommandTriggerMessage", "uuid": uuid})

    def say(self, **what: Any) -> None:
        """A message of the page's script."""
        self._number += 1
        said = msgspec.json.encode({"number": self._number, **what}).decode()
        self.set(self._view.panel.page.channel, said)

    def _send(self, message: dict[str, Any]) -> None:
        self._socket.send(msgspec.msgpack.encode(message))


def until(view: WebView, condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let the robots walk until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        view.run(seconds=0.1)
