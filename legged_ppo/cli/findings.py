"""What `legged-ppo doctor` finds, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

OK, ABSENT, BROKEN = "ok", "absent", "broken"
"""Works; is not there, and training works without it; keeps training from working."""
_STYLES = {OK: "green", ABSENT: "yellow", BROKEN: "bold red"}
_WIDTH = 120
"""Columns where the output is no terminal."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    part: str
    state: str
    """OK, ABSENT or BROKEN."""
    text: str
    remedy: str = ""
    """What to run or to change; empty where nothing is to be done."""


def print_findings(findings: Sequence[Finding]) -> None:
    """A table to stdout, with the remedies below what they mend."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in findings:
        table.add_row(Text(each.state, style=_STYLES[each.state]), each.part, Text(each.text))
        if each.remedy:
            table.add_row("", "", Text(f"-> {each.remedy}", style="cyan"))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(table)
