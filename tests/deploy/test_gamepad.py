"""A gamepad drives the runner; SDL's own virtual controller stands for the hardware."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from legged_ppo.config.schema import CommandConfig
from legged_ppo.deploy import run
from legged_ppo.deploy.commands import Commands
from legged_ppo.deploy.gamepad import Gamepad, stick_command
from legged_ppo.errors import UsageError

pygame = pytest.importorskip("pygame")

LOW, HIGH = np.array([-0.5, -0.4, -1.0]), np.array([1.0, 0.4, 1.0])
_GAME_CONTROLLER, _AXES, _BUTTONS, _BACK = 1, 6, 15, 4


@pytest.fixture
def sdl(monkeypatch: pytest.MonkeyPatch) -> Iterator[ctypes.CDLL]:
    """The library that pygame's wheel brings, started without a display."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    found = list(Path(pygame.__file__).parent.parent.glob("pygame*.libs/libSDL2-2*"))
    if not found:
        pytest.skip("pygame without its own SDL")
    library = ctypes.CDLL(str(found[0]))
    library.SDL_JoystickFromInstanceID.restype = ctypes.c_void_p
    library.SDL_JoystickSetVirtualAxis.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int16]
    library.SDL_JoystickSetVirtualButton.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint8]
    pygame.display.init()
    pygame.joystick.init()
    yield library
    pygame.joystick.quit()
    pygame.display.quit()


@pytest.fixture
def pad(sdl: ctypes.CDLL) -> Iterator[tuple[Gamepad, ctypes.CDLL, int]]:
    """A connected gamepad, and what moves its sticks."""
    device = sdl.SDL_JoystickAttachVirtual(_GAME_CONTROLLER, _AXES, _BUTTONS, 0)
    gamepad = Gamepad(LOW, HIGH)
    handles = (sdl.SDL_JoystickFromInstanceID(i) for i in range(64))
    yield gamepad, sdl, next(each for each in handles if each)
    sdl.SDL_JoystickDetachVirtual(device)


def test_sticks_give_the_command(pad: tuple[Gamepad, ctypes.CDLL, int]) -> None:
    gamepad, sdl, handle = pad
    commands = Commands(CommandConfig(heading=True), 0.02, np.random.default_rng(0))
    for axis, share, expected in (
        (1, -1.0, [1.0, 0.0, 0.0]),  # left stick up
        (1, 1.0, [-0.5, 0.0, 0.0]),
        (0, -1.0, [0.0, 0.4, 0.0]),  # left stick left
        (2, 1.0, [0.0, 0.0, -1.0]),  # right stick right
        (2, 0.05, [0.0, 0.0, 0.0]),
    ):
        sdl.SDL_JoystickSetVirtualAxis(handle, axis, round(32767 * share))
        gamepad.steer(commands)
        np.testing.assert_allclose(commands.command, expected, atol=1e-3)
        commands.step(yaw=0.7)
        np.testing.assert_allclose(commands.command, expected, atol=1e-3)
        sdl.SDL_JoystickSetVirtualAxis(handle, axis, 0)
    assert not gamepad.quits
    sdl.SDL_JoystickSetVirtualButton(handle, _BACK, 1)
    gamepad.steer(commands)
    assert gamepad.quits


def test_a_stick_is_linear_from_the_edge_of_its_rest() -> None:
    found = [stick_command([share, 0.0, 0.0], LOW, HIGH)[0] for share in (0.1, 0.55, 1.0, -0.55)]
    np.testing.assert_allclose(found, [0.0, 0.5, 1.0, -0.25])


def test_without_a_gamepad_the_line_says_so(sdl: ctypes.CDLL) -> None:
    with pytest.raises(UsageError, match="no gamepad is connected"):
        Gamepad(LOW, HIGH)


def test_a_gamepad_excludes_a_fixed_command(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([str(exported), "--gamepad", "--command", "0.5,0,0"]) == 2
    assert capsys.readouterr().err.startswith("error: --command: got [0.5, 0.0, 0.0]")
