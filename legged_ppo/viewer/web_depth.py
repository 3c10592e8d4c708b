"""The followed robot's depth camera beside the scene."""

from __future__ import annotations

import numpy as np
import viser

from legged_ppo.viewer.depth_picture import DepthPicture
from legged_ppo.viewer.live import LiveRollout

_PERIOD = 0.1
"""s between images, as real cameras have"""
_MAGNIFIED = 4
"""Edge of a shown pixel in pixels of the sent image, so that the browser does not blur it away."""


class WebDepth:
    """A picture in the panel that is open in viser's context; `add` after every step.

    Shown from the beginning where the policy looks through the camera, else once a person asks for it.
    """

    def __init__(self, server: viser.ViserServer, live: LiveRollout) -> None:
        self._live, self._robot, self._wait = live, 0, 0.0
        self._picture: DepthPicture | None = None
        self._shown = live.env.depth is not None
        self.box = server.gui.add_checkbox(
            "show",
            initial_value=self._shown,
            hint="what the policy sees; or, of a policy without a camera, what one on its robot would show",
        )
        self.box.on_update(lambda _: self._show(self.box.value))
        self._caption = server.gui.add_markdown("", visible=False)
        self._image = server.gui.add_image(np.zeros((1, 1, 3), np.uint8), visible=False)

    def watch(self, robot: int) -> None:
        """Show another robot from now on."""
        self._robot = robot

    def add(self) -> None:
        """Take the step that was just made."""
        self._wait -= self._live.env.dt
        if not self._shown or self._wait > 0.0:
            return
        self._wait = _PERIOD
        if self._picture is None:
            self._picture = DepthPicture(self._live.env)
            self._caption.content = f"{self._picture.caption}; near is red, far is blue"
        image = self._picture.image(self._robot)
        self._image.image = image.repeat(_MAGNIFIED, 0).repeat(_MAGNIFIED, 1)
        self._image.visible = self._caption.visible = True

    def _show(self, on: bool) -> None:
        self._shown, self._wait = on, 0.0
        self._image.visible = self._caption.visible = False
