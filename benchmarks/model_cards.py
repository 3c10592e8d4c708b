"""Measure the policies that come with the package and write their model cards.

    python benchmarks/model_cards.py go2_rough            # measure, compare with the card
    python benchmarks/model_cards.py go2_rough --write    # measure, write the card and docs/pretrained.md
    python benchmarks/model_cards.py --render             # docs/pretrained.md from the cards as they are

A card is `legged_ppo/pretrained/NAME.json`: texts, and the rows to measure (terrain, level, overrides) with their
figures. A test holds docs/pretrained.md and the policies to the cards.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from machine import machine

from legged_ppo.evaluation.model_card import (
    gait_disagreements,
    measure_gait,
    measure_row,
    row_disagreements,
)
from legged_ppo.reports.model_card import card_markdown
from legged_ppo.runs.pretrained import card_path, pretrained_card, pretrained_names

DOCS = Path(__file__).resolve().parents[1] / "docs" / "pretrained.md"
_GAIT_ROBOTS = 32


def measure(name: str, episodes: int) -> dict[str, Any]:
    """`measured` of a card, with the rows of the card as it is."""
    rows = []
    for row in pretrained_card(name)["measured"]["rows"]:
        rows.append(measure_row(name, row, episodes))
        print(json.dumps(rows[-1]), flush=True)
    found = {"episodes": episodes, "seed": 0, "commit": machine(torch.device("cpu"))["commit"]}
    return {**found, "rows": rows, **measure_gait(name, _GAIT_ROBOTS)}


def disagreements(card: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    """What a whole measurement has otherwise than the card."""
    lines = []
    for known, row in zip(card["rows"], measured["rows"], strict=True):
        label = f"{row['terrain']} {row['level']}"
        lines += [f"{label}: {line}" for line in row_disagreements(known, row)]
    return lines + gait_disagreements(card, measured)


def render() -> None:
    """Write the cards into docs/pretrained.md, between its markers."""
    text = DOCS.read_text()
    for name in pretrained_names():
        begin, end = f"<!-- card {name} -->\n", f"<!-- end of card {name} -->"
        before, _, rest = text.partition(begin)
        if end not in rest:
            raise SystemExit(f"error: {DOCS.name}: no {begin.strip()} before {end}")
        after = rest.partition(end)[2]
        text = before + begin + card_markdown(name, pretrained_card(name)) + end + after
    DOCS.write_text(text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[[], *pretrained_names()], metavar="NAME")
    parser.add_argument("--episodes", type=int, default=96, help="of each row")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--render", action="store_true")
    arguments = parser.parse_args(argv)
    torch.set_grad_enabled(False)
    found: list[str] = []
    for name in arguments.names:
        card, measured = pretrained_card(name), measure(name, arguments.episodes)
        if arguments.write:
            card_path(name).write_text(json.dumps(card | {"measured": measured}, indent=2) + "\n")
        else:
            found += [f"{name}: {line}" for line in disagreements(card["measured"], measured)]
    if arguments.write or arguments.render:
        render()
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
