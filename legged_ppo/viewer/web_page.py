"""A script of ours in viser's page: gamepads, keys that stay down, and what each browser draws."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template

import msgspec
import viser

_SCRIPT = Path(__file__).with_name("page.js")
_PIXELS = 0.5
"""Pixels of the picture to those of the screen, along each side, in a browser without a GPU."""


class Draws(msgspec.Struct):
    """What a browser draws."""

    frames: float
    """a second"""
    software: bool
    """without a GPU"""
    plots: bool
    """are on the screen"""


class Said(msgspec.Struct):
    """One message of the script."""

    number: int
    press: str | None = None
    """name of a move or an action, as a key gives it"""
    stick: tuple[float, float, float] | None = None
    """of a gamepad, in [-1, 1]: forward, left, turn left"""
    draws: Draws | None = None


class WebPage:
    """The script in every browser that connects, and what it says.

    viser runs no script element; an image that fails to load runs what its `onerror` holds.

    Args:
        keys: letter and the move that it stands for.
        hear: gets what a person did, in a thread of viser's.
        changed: called there when a browser began to draw in software, or the last one that did has left.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        keys: Mapping[str, str],
        hear: Callable[[Said], None],
        changed: Callable[[], None],
    ) -> None:
        self._hear, self._changed = hear, changed
        self._draws: dict[int, Draws] = {}
        self._lock = threading.Lock()
        self.channel = server.gui.add_text("page", "", visible=False)
        """Its value is the script's last message."""
        self.channel.on_update(self._take)
        server.on_client_disconnect(lambda client: self._note(client.client_id, None))
        letters = {key.lower(): move for key, move in keys.items() if len(key) == 1}
        script = Template(_SCRIPT.read_text()).substitute(
            CONTROL=self.channel._impl.uuid, KEYS=json.dumps(letters), PIXELS=_PIXELS
        )
        server.gui.add_html(f'<img hidden alt="" src="data:," onerror="{html.escape(script)}">')

    @property
    def software(self) -> bool:
        """Whether a browser draws without a GPU."""
        return any(each.software for each in self._known())

    @property
    def frames(self) -> float | None:
        """Frames a second of the slowest browser; None where none has said so."""
        return min((each.frames for each in self._known()), default=None)

    @property
    def plots(self) -> bool:
        """Whether plots are on a screen; true where nobody knows."""
        known = self._known()
        return not known or any(each.plots for each in known)

    def _known(self) -> list[Draws]:
        with self._lock:
            return list(self._draws.values())

    async def _take(self, event: viser.GuiEvent[viser.GuiInputHandle[str]]) -> None:
        """A coroutine, because viser runs plain callbacks in threads, in no order."""
        try:
            said = msgspec.json.decode(event.target.value, type=Said)
        except msgspec.DecodeError:
            return  # not of the script: anyone who can connect can write here
        if said.draws is None:
            self._hear(said)
        elif event.client_id is not None:
            self._note(event.client_id, said.draws)

    def _note(self, client: int, draws: Draws | None) -> None:
        before = self.software
        with self._lock:
            self._draws.pop(client, None)
            if draws is not None:
                self._draws[client] = draws
        if self.software != before:
            self._changed()
