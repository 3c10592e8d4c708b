"""A model card as Markdown."""

from __future__ import annotations

import shlex
from typing import Any

from legged_ppo.evaluation.statistics import interval_name
from legged_ppo.runs.pretrained import PREFIX


def card_markdown(name: str, card: dict[str, Any]) -> str:
    """The card of `pretrained:NAME` as a section of docs/pretrained.md."""
    measured = card["measured"]
    lines = [
        f"## `{name}`",
        "",
        *(f"- {label}: {card[key]}" for key, label in _TEXTS.items()),
        "",
        f"{measured['episodes']} episodes of 20 s a row on MuJoCo C, seed {measured['seed']} (commit "
        f"{measured['commit']}), such as",
        "",
        f"    {_command(name, measured['rows'][0], measured['episodes'])}",
        "",
        "| ground | success (95 % interval) | velocity error [m/s] | yaw rate error [rad/s] | time to fall [s] |",
        "| --- | --- | --- | --- | --- |",
        *(_row(row) for row in measured["rows"]),
        "",
        f"Straight ahead and standing on flat ground, {measured['robots']} robots each (`gait` in `--json`):",
        "",
        "| command | trot index | strides [Hz] | swing height [cm] | lateral bias [m/s] | power above 8 Hz |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for speed, row in measured["gait"].items():
        lines.append(
            f"| {speed} m/s | {row['trot_index']:.2f} | {row['stride_hz']:.1f} | "
            f"{100 * row['swing_height_m']:.1f} | {row['lateral_bias_m_s']:.3f} | {row['power_above_8hz']:.2f} |"
        )
    stood = measured["standing"]
    lines += [
        "",
        f"Standing: {stood['landings_per_s']:.2f} landings a second and foot, drift {stood['drift_m_s']:.3f} m/s "
        f"and {stood['drift_rad_s']:.3f} rad/s.",
    ]
    return "\n".join(lines) + "\n"


_TEXTS = {
    "robot": "robot",
    "training": "training",
    "machine": "trained on",
    "ground": "ground and commands",
    "limits": "limits",
}


def _row(row: dict[str, Any]) -> str:
    low, high = row["success_ci95"]
    ground = f"{row['terrain']}, level {row['level']}"
    if row["feature"]:
        ground += f": {row['feature']}"
    if row["overrides"]:
        ground += f", `{shlex.join(row['overrides'])}`"
    cells = [ground, f"{row['success_rate']:.3f} ({low:.3f} to {high:.3f})"]
    for name, digits in (("lin_vel_error", 2), ("yaw_rate_error", 2), ("time_to_fall_s", 1)):
        low, high = row[interval_name(name)]
        cells.append(f"{row[name]:.{digits}f} ± {(high - low) / 2:.{digits}f}")
    return f"| {' | '.join(cells)} |"


def _command(name: str, row: dict[str, Any], episodes: int) -> str:
    place = f"--terrain {row['terrain']} --level {row['level']} --envs {episodes}"
    overrides = "".join(f" {shlex.quote(each)}" for each in row["overrides"])
    return f"python evaluate.py --checkpoint {PREFIX}{name} {place}{overrides}"
