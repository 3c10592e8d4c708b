"""The robots in a browser: served by viser, walking in real time until Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.runs.run_directory import LATEST
from legged_ppo.viewer.cameras import CAMERAS
from legged_ppo.viewer.checkpoint_watch import CheckpointWatch, watched_path
from legged_ppo.viewer.driving import Command
from legged_ppo.viewer.live import LiveRollout, Pace
from legged_ppo.viewer.web_address import LOCAL, PORT, check_address, port_in_use

if TYPE_CHECKING:
    import viser

    from legged_ppo.evaluation.trained_policy import TrainedPolicy

_LIGHT_PERIOD = 1.0 / 30.0
"""s between frames of the light drawing, and while physics is behind real time; else each step is a frame."""
_STATUS_PERIOD = 0.5
"""s"""


class WebView:
    """A server, its scene and its controls around `live`; `run` lets the robots walk.

    Args:
        policy: of `live`, and where it was read from.
        read: reads a newer checkpoint of the same run, for the robots of `live`.
        camera: name in `CAMERAS`, of the first view.

    Raises:
        UsageError: viser is not installed.
        ConfigError: the host or the port cannot be used.
    """

    def __init__(
        self,
        live: LiveRollout,
        policy: TrainedPolicy,
        read: Callable[[Path], TrainedPolicy],
        *,
        host: str = LOCAL,
        port: int = PORT,
        camera: str | None = None,
    ) -> None:
        self.live = live
        self.server = _start_server(host, port)
        from legged_ppo.viewer.web_panel import WebPanel
        from legged_ppo.viewer.web_scene import WebScene

        self.address = f"http://{host}:{self.server.get_port()}"
        self.scene = WebScene(self.server, live.env)
        self.scene.set_camera(CAMERAS[camera or "follow"])
        automatic = policy.path.name == LATEST
        self.watch = CheckpointWatch(
            watched_path(policy.path), read, self._deliver, automatic=automatic
        )
        self.panel = WebPanel(
            self.server,
            live,
            self.scene,
            reload=self.watch.reload,
            set_automatic=lambda on: setattr(self.watch, "automatic", on),
            automatic=automatic,
        )
        self._show_policy(policy)
        self._frames = self._steps = 0
        self._drawn = self._due = self._status_from = time.perf_counter()

    def run(self, seconds: float = math.inf, episodes: int | None = None) -> None:
        """Walk in real time, for `seconds` of the robots' time or until `episodes` ended."""
        pace, steps = Pace(self.live.env.dt), seconds / self.live.env.dt
        while steps > 0 and episodes != 0:
            self.panel.apply()
            if not self.panel.paused:
                self.live.step()
                self.panel.stepped()
                steps -= 1
                self._steps += 1
                if bool(self.live.ended[self.scene.followed]):
                    self.scene.cut()
                if episodes is not None:
                    episodes = max(episodes - int(self.live.ended.sum()), 0)
            self._draw(pace.lag)
            pace.wait()

    def close(self) -> None:
        """End the threads and free the port."""
        self.watch.close()
        with contextlib.redirect_stdout(io.StringIO()):  # viser's farewell
            self.server.stop()

    def __enter__(self) -> WebView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _draw(self, lag: float) -> None:
        now = time.perf_counter()
        sparing = self.scene.light or lag > 0.0
        if not sparing or now >= self._due:
            self._due = max(self._due, now - _LIGHT_PERIOD) + _LIGHT_PERIOD
            self.scene.update(now - self._drawn)
            self._drawn = now
            self._frames += 1
        elapsed = now - self._status_from
        if elapsed >= _STATUS_PERIOD:
            speed = self._steps * self.live.env.dt / elapsed
            self._show_status(speed, self._frames / elapsed)
            self._frames = self._steps = 0
            self._status_from = now

    def _show_status(self, speed: float, frames: float) -> None:
        env = self.live.env
        robots = "1 robot" if env.num_envs == 1 else f"{env.num_envs} robots"
        pace = "paused" if self.panel.paused else f"{speed:.2f} x real time"
        terrain, level = self.live.place_name
        feature = env.terrain.tiles[int(env.terrain_type[0])][level].feature
        where = f"{terrain} {level} ({feature})" if feature else terrain
        drawn = self.panel.page.frames
        seen = "" if drawn is None else f", {drawn:.0f} drawn"
        drawing = ", light drawing" if self.scene.light else ""
        sent = f"{frames:.0f} frames a second{seen}"
        self.panel.status.content = f"{robots}, {where}, {pace}, {sent}{drawing}"

    def _deliver(self, found: TrainedPolicy | str) -> None:
        """Take over a policy, or show why there is none; called by the watch's thread."""
        if isinstance(found, str):
            self.panel.ask(lambda: self._show_failure(found))
        else:
            self.panel.ask(lambda: self._take(found))

    def _take(self, policy: TrainedPolicy) -> None:
        try:
            self.live.load(policy.network)
        except ConfigError as error:
            self._show_failure(str(error))
        else:
            self._show_policy(policy)

    def _show_policy(self, policy: TrainedPolicy) -> None:
        self._policy_line = f"`{policy.path.name}`: {policy.env_steps:,} environment steps"
        watched = f"watched: `{self.watch.path.name}` of `{_run_name(self.watch.path)}`"
        self.panel.policy.content = f"{self._policy_line}\n\n{watched}"

    def _show_failure(self, reason: str) -> None:
        self.panel.policy.content = f"{self._policy_line}\n\nnot reloaded: {reason}"


def serve(
    policy: TrainedPolicy,
    read: Callable[[Path], TrainedPolicy],
    *,
    robots: int = 1,
    host: str = LOCAL,
    port: int = PORT,
    episodes: int | None = None,
    seconds: float | None = None,
    camera: str | None = None,
    command: Command | None = None,
    place: tuple[str, int] | None = None,
    seed: int = 0,
    stochastic: bool = False,
) -> None:
    """Serve until Ctrl-C, or the end of `seconds` or `episodes`.

    Raises:
        UsageError, ConfigError: as `WebView` and `LiveRollout`.
    """
    check_address(host, port)
    live = LiveRollout(
        policy.network,
        policy.config,
        robots,
        command=command,
        place=place,
        seed=seed,
        stochastic=stochastic,
        endless=episodes is None,
    )
    with WebView(live, policy, read, host=host, port=port, camera=camera) as view:
        print(f"open {view.address} in a browser; Ctrl-C ends it", flush=True)
        view.run(math.inf if seconds is None else seconds, episodes)


def _start_server(host: str, port: int) -> viser.ViserServer:
    try:
        import viser
    except ImportError:
        hint = 'pip install "legged_ppo[web]", in a checkout pip install -e ".[web]"'
        raise UsageError("--viewer web needs viser, which is not installed", hint) from None
    check_address(host, port)
    with contextlib.redirect_stdout(io.StringIO()):  # its banner; `serve` prints the address
        server = viser.ViserServer(host=host, port=port, label="legged_ppo", verbose=False)
    if port and server.get_port() != port:  # taken since it was checked
        server.stop()
        raise port_in_use(port)
    # Sharing would tunnel the view to a public server.
    server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
    return server


def _run_name(checkpoint: Path) -> str:
    folder = checkpoint.resolve().parent
    return folder.parent.name if folder.name == "checkpoints" else folder.name
