"""Parts of a page in one HTML file that refers to nothing outside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 74rem; margin: 1.5rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
nav a { margin-right: 1rem; } a { color: #0b5cad; } p { margin: .4rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .86rem; margin: .3rem 0; }
th, td { padding: .22rem .5rem; text-align: right; vertical-align: top; } td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.all td { font-weight: bold; }
table.text th, table.text td { text-align: left; white-space: normal; }
table.text td:last-child { min-width: 16rem; }
th { border-bottom: 2px solid #888; } td { border-bottom: 1px solid #ddd; }
img { max-width: 100%; } figure { display: inline-block; margin: .3rem .6rem .3rem 0; vertical-align: top; }
figure.half { width: 47%; } figcaption { font-size: .85rem; color: #555; }
summary { cursor: pointer; } pre { font-size: .8rem; }
"""

Row = tuple[Sequence[str], bool]
"""Cells, and whether they are of a whole group, in bold."""


def page(title: str, body: Iterable[str]) -> str:
    """A whole document."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def table(headings: Sequence[str], rows: Iterable[Row], kind: str = "") -> str:
    """A table; of kind `text` its cells are aligned to the left and wrapped."""
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join(map(_row, rows))
    return f'<div class="wide"><table class="{kind}"><tr>{head}</tr>{body}</table></div>'


def _row(row: Row) -> str:
    cells, whole = row
    kind = ' class="all"' if whole else ""
    return f"<tr{kind}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def picture(png: bytes, alternative: str, caption: str = "", kind: str = "") -> str:
    """A PNG inside the page; of kind `half` two of them lie side by side."""
    data = base64.b64encode(png).decode()
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="{kind}"><img alt="{html.escape(alternative)}" src="data:image/png;base64,{data}">{below}'
        "</figure>"
    )


def folded(summary: str, body: str) -> str:
    """A part that opens at a click."""
    return f"<details><summary>{html.escape(summary)}</summary>{body}</details>"


def text(words: str) -> str:
    """A paragraph."""
    return f"<p>{html.escape(words)}</p>"


def link(address: str, words: str) -> str:
    return f'<a href="{html.escape(address)}">{html.escape(words)}</a>'
