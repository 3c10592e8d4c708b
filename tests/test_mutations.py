"""The list of mutations follows the code: each changes one line that exists, and names tests that exist."""

from __future__ import annotations

from mutations import MUTATIONS, ROOT


def test_every_mutation_finds_its_line_once_and_its_tests() -> None:
    stale = [
        mutation.name
        for mutation in MUTATIONS
        if (ROOT / "legged_ppo" / mutation.file).read_text().count(mutation.old) != 1
        or not all((ROOT / "tests" / name).exists() for name in mutation.tests.split())
    ]
    assert stale == []
