"""The controls of the web view: what a person can change while the robots walk."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

import viser

from legged_ppo.viewer.cameras import CAMERAS
from legged_ppo.viewer.driving import STEPS, Command
from legged_ppo.viewer.live import LiveRollout
from legged_ppo.viewer.web_depth import WebDepth
from legged_ppo.viewer.web_page import Said, WebPage
from legged_ppo.viewer.web_plots import WebPlots
from legged_ppo.viewer.web_scene import FOLLOW, WebScene

_AXES = ("forward [m/s]", "left [m/s]", "turn [rad/s]")
_KEYS = {
    "I": "forward",
    "K": "back",
    "J": "turn left",
    "L": "turn right",
    "U": "left",
    "O": "right",
    "space": "stop",
}
"""W, A, S, D and the arrows move viser's camera."""
_PUSH, _STRONGEST_PUSH = 1.0, 3.0
"""m/s"""
_AUTOMATIC, _FULL, _LIGHT = "automatic", "full", "light"
_DRAWING = "light: few triangles, no lights or shadows; automatic: light when a browser has no GPU"


class WebPanel:
    """Sliders, buttons and keys. Browsers act in threads of viser's; `apply` does what they asked in its own."""

    def __init__(
        self,
        server: viser.ViserServer,
        live: LiveRollout,
        scene: WebScene,
        *,
        reload: Callable[[], None],
        set_automatic: Callable[[bool], None],
        automatic: bool,
    ) -> None:
        self.paused = False
        self._live, self._scene, self._gui = live, scene, server.gui
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.status = self._gui.add_markdown("")
        tabs = self._gui.add_tab_group()
        with tabs.add_tab("Drive"):
            self._add_driving()
            self._add_world()
        with tabs.add_tab("Plots"):
            self.plots = WebPlots(server, live)
        with tabs.add_tab("Depth"):
            self.depth = WebDepth(server, live)
        with tabs.add_tab("View"):
            self._add_view()
        with tabs.add_tab("Policy"):
            self.policy = self._gui.add_markdown("")
            self._add_reload(reload, set_automatic, automatic)
        self._add_keys()
        self.page = WebPage(server, _KEYS, self._hear, lambda: self.ask(self._choose_drawing))

    def stepped(self) -> None:
        """Show the step that was just made."""
        self.plots.add(shown=self.page.plots)
        self.depth.add()

    def apply(self) -> None:
        """Do what was asked for since the last call."""
        while not self._asked.empty():
            self._asked.get()()

    def ask(self, action: Callable[[], None]) -> None:
        """Let `apply` do this; from any thread."""
        self._asked.put(action)

    def _by_browser(self, event: Any, action: Callable[[], None]) -> None:
        """Ask, unless this panel itself set the control."""
        if event.client is not None:
            self.ask(action)

    def _add_driving(self) -> None:
        driver = self._live.driver
        self._sliders = [
            self._gui.add_slider(
                name,
                min=low,
                max=high if high > low else low + 0.1,  # an axis without commands in training
                step=step / 4,
                initial_value=value,
                disabled=high <= low,
            )
            for name, (low, high), step, value in zip(
                _AXES, driver.limits, STEPS, driver.command or (0.0, 0.0, 0.0), strict=True
            )
        ]
        for slider in self._sliders:
            slider.on_update(lambda event: self._by_browser(event, self._drive_by_sliders))
        self._drawn = self._gui.add_checkbox(
            "drawn commands",
            initial_value=driver.command is None,
            hint="commands drawn as in training, until a slider or a key is used",
        )
        self._drawn.on_update(lambda event: self._by_browser(event, self._draw_commands))
        buttons = self._gui.add_button_group("move", ("turn left", "forward", "turn right"))
        more = self._gui.add_button_group(" ", ("left", "back", "right"))
        for group in (buttons, more):
            group.on_click(lambda event: self._press(event.target.value))
        self._gui.add_button("Stop", icon=viser.Icon.HAND_STOP).on_click(
            lambda _: self._press("stop")
        )
        keys = ", ".join(f"**{key}** {move}" for key, move in _KEYS.items())
        self._gui.add_markdown(
            f"Keys, one step a press and more while held: {keys}, **P** push, **R** reset. "
            "Gamepad of this browser: left stick drives, right stick turns, **A** push, **B** reset."
        )

    def _add_world(self) -> None:
        terrain = self._live.env.terrain
        name, level = self._live.place_name
        self._terrain = self._gui.add_dropdown("terrain", terrain.types, initial_value=name)
        self._level = self._gui.add_slider(
            "level",
            min=0,
            max=max(terrain.num_levels - 1, 1),
            step=1,
            initial_value=level,
            disabled=terrain.num_levels == 1,
        )
        for control in (self._terrain, self._level):
            control.on_update(lambda event: self._by_browser(event, self._place))
        self._pause = self._gui.add_checkbox("pause", initial_value=False)
        self._pause.on_update(lambda _: setattr(self, "paused", self._pause.value))
        self._gui.add_button("Reset", icon=viser.Icon.REFRESH).on_click(
            lambda _: self.ask(self._reset)
        )
        self._push = self._gui.add_slider(
            "push [m/s]", min=0.0, max=_STRONGEST_PUSH, step=0.1, initial_value=_PUSH
        )
        self._gui.add_button("Push", icon=viser.Icon.WIND).on_click(
            lambda _: self.ask(self._push_all)
        )

    def _add_view(self) -> None:
        scene, robots = self._scene, self._live.env.num_envs
        if robots > 1:
            robot = self._gui.add_slider("robot", min=0, max=robots - 1, step=1, initial_value=0)
            robot.on_update(lambda _: self.ask(lambda: self._watch(int(robot.value))))
        follow = self._gui.add_dropdown("follow", FOLLOW, initial_value=scene.follow)
        follow.on_update(lambda _: self.ask(lambda: self._follow(follow.value)))
        camera = self._gui.add_dropdown("camera", tuple(CAMERAS), initial_value="follow")
        camera.on_update(lambda _: scene.set_camera(CAMERAS[camera.value]))
        arrows = self._gui.add_checkbox("command (green), velocity (blue)", initial_value=True)
        arrows.on_update(lambda _: setattr(scene, "arrows", arrows.value))
        contacts = self._gui.add_checkbox("foot contacts", initial_value=True)
        contacts.on_update(lambda _: setattr(scene, "contacts", contacts.value))
        self._drawing = self._gui.add_dropdown(
            "drawing", (_AUTOMATIC, _FULL, _LIGHT), initial_value=_AUTOMATIC, hint=_DRAWING
        )
        self._drawing.on_update(lambda _: self.ask(self._choose_drawing))

    def _add_reload(
        self,
        reload: Callable[[], None],
        set_automatic: Callable[[bool], None],
        automatic: bool,
    ) -> None:
        self._gui.add_button("Reload", icon=viser.Icon.DOWNLOAD).on_click(lambda _: reload())
        box = self._gui.add_checkbox(
            "reload when it changes",
            initial_value=automatic,
            hint="while a training goes on: its newest policy takes over where the robots are",
        )
        box.on_update(lambda _: set_automatic(box.value))

    def _add_keys(self) -> None:
        def bind(key: Any, label: str, action: Callable[[], None]) -> None:
            command = self._gui.add_command(label, hotkey=key)
            command.on_trigger(lambda _: action())

        for key, move in _KEYS.items():
            bind(key, move, lambda move=move: self._press(move))  # type: ignore[misc]
        bind("P", "push", lambda: self.ask(self._push_all))
        bind("R", "reset", lambda: self.ask(self._reset))

    def _press(self, move: str) -> None:
        self.ask(lambda: self._drive_by_key(move))

    def _push_all(self) -> None:
        self._live.push(float(self._push.value))

    def _drive_by_key(self, move: str) -> None:
        self._drive(self._live.driver.press(move))

    def _drive_by_sliders(self) -> None:
        vx, vy, yaw_rate = (float(slider.value) for slider in self._sliders)
        self._drive((vx, vy, yaw_rate))

    def _drive(self, command: Command) -> None:
        self._live.command(command)
        self._drawn.value = False
        for slider, value in zip(self._sliders, command, strict=True):
            slider.value = value

    def _draw_commands(self) -> None:
        if self._drawn.value:
            self._live.command(None)
        else:
            self._drive_by_sliders()

    def _place(self) -> None:
        level = min(int(self._level.value), self._live.env.terrain.num_levels - 1)
        self._live.place(self._terrain.value, level)
        self.restarted()

    def _reset(self) -> None:
        self._live.restart()
        self.restarted()

    def restarted(self) -> None:
        """Forget what was drawn of the episodes before."""
        self._scene.cut()
        self.plots.clear()

    def _watch(self, robot: int) -> None:
        self._scene.followed = robot
        self._scene.cut()
        self.plots.watch(robot)
        self.depth.watch(robot)

    def draw(self, how: str) -> None:
        """Draw "automatic", "full" or "light" from now on; from any thread."""
        self._drawing.value = how

    def _choose_drawing(self) -> None:
        wanted = self._drawing.value
        light = wanted == _LIGHT or (wanted == _AUTOMATIC and self.page.software)
        if light != self._scene.light:
            self._scene.set_light(light)

    def _hear(self, said: Said) -> None:
        """What a person did by a gamepad or a key that stays down; in viser's thread."""
        if said.stick is not None:
            stick = said.stick
            self.ask(lambda: self._drive(self._live.driver.deflect(stick)))
        elif said.press == "push":
            self.ask(self._push_all)
        elif said.press == "reset":
            self.ask(self._reset)
        elif said.press is not None and said.press in _KEYS.values():
            self._press(said.press)

    def _follow(self, what: str) -> None:
        self._scene.follow = what
