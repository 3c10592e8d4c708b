"""A headless Chromium driven by its DevTools protocol over a pipe; needs no package and no port."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = (960, 600)
"""Pixels of the page."""
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--mute-audio"),
    *("--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
)
"""WebGL in software: there need not be a GPU. A page that asks another host for anything gets an error."""
_ANSWER = 240.0
"""s until an answer; without a GPU and beside other work it is slow"""
_KEY_CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


def find_browser() -> str | None:
    """The program, or None where none is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """The one page of a browser, over the two ends of its pipes."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._numbers = to, back, itertools.count(1)
        self._rest, self._session = b"", ""
        self.log: list[str] = []
        """What the page wrote to its console."""
        self.errors: list[str] = []
        """Exceptions of the page's scripts, and what could not be loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._note(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The JSON value of a JavaScript expression, or of the promise that it is."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = _ANSWER) -> None:
        """Return once the expression is true.

        Raises:
            TimeoutError: it stayed false for `seconds`.
        """
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            if time.monotonic() > end:
                shown = self.run("document.body.innerText")
                raise TimeoutError(f"{script!r} is false; {self.log[-5:]} {self.errors} {shown}")
            time.sleep(0.1)

    def key(self, key: str, down: bool) -> None:
        """Put a key down or let it go, by a letter or a name such as ArrowRight."""
        self.call(
            "Input.dispatchKeyEvent",
            type="keyDown" if down else "keyUp",
            key=key,
            code=f"Key{key.upper()}" if len(key) == 1 else key,
            windowsVirtualKeyCode=_KEY_CODES.get(key) or ord(key.upper()[0]),
        )

    def press(self, key: str) -> None:
        for down in (True, False):
            self.key(key, down)

    def click(self, element: str) -> None:
        """Click in the middle of the element that a JavaScript expression gives."""
        box = f"(r => [r.x + r.width / 2, r.y + r.height / 2])(({element}).getBoundingClientRect())"
        x, y = self.run(box)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def touch(self, x: float, y: float) -> None:
        """Put a finger down."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])

    def release(self) -> None:
        """Lift the finger."""
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screenshot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._back], [], [], _ANSWER)[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._back, 2**20)
            assert piece, "the browser has ended"
            self._rest += piece
        text, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(text))

    def _note(self, event: dict[str, Any]) -> None:
        method, content = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled":
            self.log.append(" ".join(str(part.get("value", "")) for part in content["args"]))
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(content["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and content["entry"]["level"] == "error":
            self.errors.append(f"{content['entry']['text']} {content['entry'].get('url', '')}")


@contextlib.contextmanager
def browser(
    program: str, size: tuple[int, int] = SIZE, flags: Sequence[str] = ()
) -> Iterator[Page]:
    """A fresh browser with one page, until the block ends.

    Args:
        program: as `find_browser` gives it.
        flags: more options of its command line.
    """
    theirs_in, to = os.pipe()
    back, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        window = f"--window-size={size[0]},{size[1]}"
        words = [program, *_FLAGS, *flags, window, f"--user-data-dir={profile}", "about:blank"]
        shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        process = subprocess.Popen(
            ["bash", "-c", shell, *words],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Page(to, back)
        finally:
            process.terminate()
            process.wait(_ANSWER)
            os.close(to)
            os.close(back)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a plain static server of a folder."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
