"""Live plots of one robot: command against velocity, foot contacts, reward terms."""

from __future__ import annotations

import html
from collections import deque

import numpy as np
import viser
import viser.uplot as uplot

from legged_ppo.viewer.live import LiveRollout

_SECONDS, _PERIOD = 8.0, 0.04
"""s that a plot shows, and between its points"""
_REFRESH = 0.2
"""s between updates of the plots"""
_REWARD_TIME = 1.0
"""Time constant [s] of the running mean of the reward terms."""
_COMMAND, _ACTUAL = "#19a34a", "#2563eb"
_FEET = ("#d97706", "#7c3aed", "#0891b2", "#be185d")
_AXES = ("forward [m/s]", "left [m/s]", "turn [rad/s]")
_ROWS = 4 + 3


class WebPlots:
    """Charts in the panel that is open in viser's context; `add` after every step."""

    def __init__(self, server: viser.ViserServer, live: LiveRollout) -> None:
        self._live, self._dt = live, live.env.dt
        self._every = max(1, round(_PERIOD / self._dt))
        self._history: deque[np.ndarray] = deque(maxlen=round(_SECONDS / (self._every * self._dt)))
        self._time, self._steps, self._shown = 0.0, 0, 0.0
        names = live.env.episode_metrics
        self._terms = [i for i, name in enumerate(names) if name.startswith("Episode/rew_")]
        self._names = [names[i].removeprefix("Episode/rew_") for i in self._terms]
        self._totals = np.zeros(len(self._terms))
        self._rewards = np.zeros(len(self._terms))
        self._robot = 0
        empty = np.zeros(1)
        self._velocities = [
            server.gui.add_uplot(
                (empty, empty, empty),
                _series(("command", _COMMAND), (title, _ACTUAL)),
                title=title,
                height=125,
                scales={"x": uplot.Scale(time=False), "y": uplot.Scale(range=limits)},
            )
            for title, limits in zip(_AXES, self._limits(), strict=True)
        ]
        feet = [f"foot {i}" for i in range(live.env.robot.num_feet)]
        self._contacts = server.gui.add_uplot(
            (empty,) * (1 + len(feet)),
            _series(*((name, _FEET[i % len(_FEET)]) for i, name in enumerate(feet)), width=6),
            title="feet on the ground: " + ", ".join(live.env.robot.config.foot_geoms),
            height=125,
            scales={"x": uplot.Scale(time=False), "y": uplot.Scale(range=(-0.7, len(feet) - 0.3))},
        )
        self._bars = server.gui.add_html("")

    def watch(self, robot: int) -> None:
        """Show another robot from now on."""
        self._robot = robot
        self.clear()

    def clear(self) -> None:
        """Forget what was, as after a reset."""
        self._history.clear()
        self._rewards[:], self._totals[:] = 0.0, self._now()

    def add(self, *, shown: bool = True) -> None:
        """Take the step that was just made; now and then, show it, if `shown`."""
        env, robot = self._live.env, self._robot
        self._time += self._dt
        self._steps += 1
        totals = self._now()
        if not bool(self._live.ended[robot]):
            rate = (totals - self._totals) / self._dt
            self._rewards += min(self._dt / _REWARD_TIME, 1.0) * (rate - self._rewards)
        self._totals = totals
        if self._steps % self._every == 0:
            state = env.simulator.state
            actual = [*state.base_lin_vel[robot, :2].tolist(), float(state.base_ang_vel[robot, 2])]
            command = env.commands.command[robot].tolist()
            feet = np.where(
                env.feet.contact[robot].cpu().numpy(), np.arange(env.robot.num_feet), np.nan
            )
            self._history.append(np.array([self._time, *command, *actual, *feet[::-1]]))
        if shown and self._time - self._shown >= _REFRESH and self._history:
            self._shown = self._time
            self._show()

    def _show(self) -> None:
        table = np.stack(self._history).T.copy()  # [columns, points]
        for i, chart in enumerate(self._velocities):
            chart.data = (table[0], table[1 + i], table[4 + i])
        self._contacts.data = (table[0], *table[_ROWS:])
        self._bars.content = _bars(self._names, self._rewards)

    def _now(self) -> np.ndarray:
        totals = self._live.env.statistics.totals[self._robot].cpu().numpy()
        return totals[self._terms].astype(np.float64)

    def _limits(self) -> list[tuple[float, float]]:
        """Of the charts: half as much again as the commands reach, so that the axes stand still."""
        return [
            (1.5 * min(low, -0.5 * high, -0.2), 1.5 * max(high, -0.5 * low, 0.2))
            for low, high in self._live.driver.limits
        ]


def _series(*lines: tuple[str, str], width: float = 2) -> tuple[uplot.Series, ...]:
    drawn = [uplot.Series(label=name, stroke=color, width=width) for name, color in lines]
    return (uplot.Series(label="s"), *drawn)


def _bars(names: list[str], values: np.ndarray) -> str:
    """The reward terms as bars, the largest first, to the right in green or to the left in red."""
    largest = max(float(np.abs(values).max(initial=0.0)), 1e-6)
    rows = []
    for i in np.argsort(-np.abs(values), kind="stable"):
        share = 50.0 * abs(values[i]) / largest
        left, color = (50.0, "#19a34a") if values[i] >= 0 else (50.0 - share, "#dc2626")
        rows.append(
            f'<div style="display:flex;align-items:center;gap:6px;font-size:11px;line-height:16px">'
            f'<span style="width:38%;overflow:hidden">{html.escape(names[i])}</span>'
            f'<span style="position:relative;flex:1;height:9px;background:#8882">'
            f'<span style="position:absolute;top:0;height:9px;left:{left:.1f}%;width:{share:.1f}%;'
            f'background:{color}"></span></span>'
            f'<span style="width:17%;text-align:right">{values[i]:+.3f}</span></div>'
        )
    total = f"<b>reward a second, {float(values.sum()):+.3f} in all</b>"
    return f'<div style="padding:4px 12px;font-size:12px">{total}{"".join(rows)}</div>'
