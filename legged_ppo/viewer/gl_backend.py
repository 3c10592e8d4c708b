"""Find an OpenGL back end that works on this machine, for rendering without a display.

MuJoCo takes its back end from the environment variable MUJOCO_GL when it is imported, and a back
end that does not work may raise, or end the process. So each candidate is tried in a process of its
own, and the first that renders a picture is switched on in this one.
"""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 2"/><geom size="0.2" rgba="1 0 0 1"/></worldbody></mujoco>'
)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 48, 64)
renderer.update_scene(data)
assert renderer.render().std() > 1.0
"""
_PROBE_TIMEOUT = 60.0
"""Seconds after which a back end counts as not working; a cold start of Mesa takes three."""
_OFFSCREEN = ("egl", "osmesa")
NO_BACKEND = (
    "no rendering: no OpenGL back end works here; install one with "
    "'apt-get install libegl1 libgl1' (EGL, needs no GPU) or 'apt-get install libosmesa6' (OSMesa)"
)


class RenderingUnavailable(RuntimeError):  # noqa: N818, a state of the machine, not an error
    """Nothing can be drawn here; the message says in one line what to install."""


@functools.cache
def use_working_backend() -> str:
    """Switch MuJoCo's renderer to the first back end that works, and return its name.

    The order is that of MUJOCO_GL (when set), EGL, OSMesa, and GLFW where there is a display.

    Raises:
        RenderingUnavailable: none works.
    """
    for name in candidates(os.environ):
        if _renders(name):
            _switch_to(name)
            return name
    raise RenderingUnavailable(NO_BACKEND)


def working_backends() -> list[str]:
    """The back ends that render a picture here, in the order of preference; all are tried at once."""
    names = candidates(os.environ)
    with ThreadPoolExecutor(len(names)) as pool:
        return [name for name, works in zip(names, pool.map(_renders, names), strict=True) if works]


def candidates(environment: os._Environ[str] | dict[str, str]) -> list[str]:
    """Back ends to try, in order."""
    names = [environment.get("MUJOCO_GL", ""), *_OFFSCREEN]
    if has_display(environment):
        names.append("glfw")
    return list(dict.fromkeys(name for name in names if name))


def has_display(environment: os._Environ[str] | dict[str, str]) -> bool:
    """True where a window can be opened."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def _renders(name: str) -> bool:
    environment = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"}
    environment["MUJOCO_GL"] = name
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env=environment,
            capture_output=True,
            timeout=_PROBE_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def _switch_to(name: str) -> None:
    os.environ["MUJOCO_GL"] = name
    if name in _OFFSCREEN:
        os.environ["PYOPENGL_PLATFORM"] = name
    else:
        os.environ.pop("PYOPENGL_PLATFORM", None)
    gl_context = importlib.import_module("mujoco.rendering.classic.gl_context")
    importlib.reload(gl_context)  # MuJoCo reads MUJOCO_GL in this module's body
