"""A headless Chromium, driven by its DevTools protocol over the websockets that viser brings along."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--remote-debugging-port=0"),
)
"""WebGL in software: there need not be a GPU."""
_START, _ANSWER = 60.0, 120.0
"""s to start, and until an answer; without a GPU and beside other work both are slow"""


def find_browser() -> str | None:
    """The program, or None where none is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a Chromium that ends with the `with` block."""

    def __init__(self, program: str, size: tuple[int, int] = (640, 400)) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        profile = Path(self._folder.name)
        window = f"--window-size={size[0]},{size[1]}"
        self._process = subprocess.Popen(
            [program, *_FLAGS, window, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = self._port(profile / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_START) as answer:
            pages = [each for each in json.load(answer) if each["type"] == "page"]
        self._socket = connect(
            pages[0]["webSocketDebuggerUrl"], max_size=None, open_timeout=_START, proxy=None
        )
        self._number = 0
        self.log: list[str] = []
        """What the page wrote to its console."""
        self.call("Runtime.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(_START)
        self._folder.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(_ANSWER))
            if answer.get("method") == "Runtime.consoleAPICalled":
                parts = answer["params"]["args"]
                self.log.append(" ".join(str(part.get("value", "")) for part in parts))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of an expression, or of the promise that it is."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = _ANSWER) -> Any:
        """The first true value of an expression.

        Raises:
            TimeoutError: none within `seconds`.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.run(script):
                return found
            time.sleep(0.2)
        raise TimeoutError(f"{script!r} stayed false; the page said {self.log[-5:]}")

    def press(self, key: str) -> None:
        """A key down and up, by a letter or a name such as ArrowRight."""
        code = f"Key{key.upper()}" if len(key) == 1 else key
        virtual = {"ArrowLeft": 37, "ArrowRight": 39}.get(key) or ord(key.upper()[0])
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=code,
                windowsVirtualKeyCode=virtual,
            )

    def screenshot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def frames_per_second(self, seconds: float = 4.0) -> float:
        """Frames that the page draws."""
        script = (
            "new Promise(done => {let n = 0; const start = performance.now();"
            f"function frame() {{n++; const t = performance.now() - start; if (t > {1000 * seconds})"
            " done(1000 * n / t); else requestAnimationFrame(frame)} requestAnimationFrame(frame)})"
        )
        return float(self.run(script))

    def _port(self, file: Path) -> int:
        end = time.monotonic() + _START
        while time.monotonic() < end:
            if file.is_file() and (lines := file.read_text().splitlines()):
                return int(lines[0])
            time.sleep(0.1)
        raise TimeoutError("the browser opened no port")
