"""Recipes and overrides from a seeded mutator: refused in one line, or a config that can be written and read."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from legged_ppo.config.keys import known_keys
from legged_ppo.config.loading import CONFIG_DIR
from tests.faults.batches import in_batches, printed, write_outcomes
from tests.faults.children import Job
from tests.faults.measure import Measure

_DEMAND = "exit 2 with one line, or a config that is equal when read again; no code is run, no traceback, no hang"
_GOOD = ("refused with one line", "valid")
_RECIPES = ("phase1_quickstart", "phase1_fast", "phase1_monolithic", "gym/cartpole_ppo")
_VALUES = (
    *(
        "",
        "null",
        "~",
        "true",
        "0",
        "-1",
        "1e999",
        "-.inf",
        ".nan",
        "1e-320",
        "99999999999999999999",
    ),
    *(
        "9" * 5000,
        "0x1F",
        "1_000",
        "1:30",
        "2024-01-01",
        "!!binary aGVsbG8=",
        "[]",
        "{}",
        "[[[[]]]]",
    ),
    *(
        "[1, 2, 3]",
        "{a: 1}",
        '"',
        "'",
        "\\x00",
        "\u2028",
        "\U0001f916",
        "x" * 3000,
        "%PATH%",
        "&a [*a]",
    ),
    *(
        "*unknown",
        "<<: *a",
        "${training.seed}",
        "${oc.env:HOME}",
        "${oc.env:NOT_THERE}",
        "${unknown:1}",
    ),
    *(
        "${",
        "a: b: c",
        "- - -",
        "? x",
        "| text",
        "> text",
        "../../etc/passwd",
        "/dev/zero",
        "@x",
        "`x`",
    ),
)
_CODE = (
    "!!python/object/apply:os.mkdir [{canary}]",
    "!!python/object/new:os.mkdir [{canary}]",
    "{_target_: os.mkdir, path: {canary}}",
    '${eval:\'__import__("os").mkdir("{canary}")\'}',
    "__import__('os').mkdir('{canary}')",
)
"""Values that some loader of YAML would run."""


def damaged_bytes(text: str, source: random.Random) -> str | bytes:
    """Characters or bytes replaced, or a part missing."""
    content = bytearray(text.encode())
    kind = source.randrange(4)
    if kind == 0:
        return bytes(content[: source.randrange(len(content))])
    for _ in range(source.choice((1, 2, 8))):
        place = source.randrange(len(content))
        if kind == 1:
            content[place] = source.randrange(256)
        else:
            content[place : place + source.choice((0, 1, 5))] = source.choice(
                (
                    b"\t",
                    b":",
                    b"\n",
                    b"-",
                    b"[",
                    b"}",
                    b"#",
                    b"\x00",
                    b"\xff",
                    b'"',
                    b"&a ",
                    b"*a",
                    b"!!int ",
                )
            )
    return bytes(content)


def damaged_lines(text: str, source: random.Random) -> str:
    """Lines doubled, moved, missing or indented otherwise."""
    lines = text.splitlines()
    for _ in range(source.choice((1, 2, 5))):
        place = source.randrange(len(lines))
        line = lines.pop(place)
        choice = source.randrange(4)
        if choice == 0:
            lines[place:place] = [line, line]
        elif choice == 1:
            lines.insert(source.randrange(len(lines) + 1), line)
        elif choice == 2:
            lines.insert(place, " " * source.choice((1, 2, 4, 40)) + line.strip())
    return "\n".join(lines)


def odd_values(text: str, source: random.Random) -> str:
    """A key of the recipe, or another one of the schema, with a value of the list."""
    lines = text.splitlines()
    keyed = [i for i, line in enumerate(lines) if ":" in line and not line.strip().startswith("#")]
    for _ in range(source.choice((1, 1, 3))):
        place = source.choice(keyed)
        key = lines[place].partition(":")[0]
        if source.random() < 0.2:
            key = key[:-1] + source.choice("xyz_- .")
        lines[place] = f"{key}: {source.choice((*_VALUES, *_CODE))}"
    return "\n".join(lines)


def other_files(text: str, source: random.Random) -> str | bytes:
    """No recipe at all, or one that is made to exhaust the reader."""
    deep = source.choice((30, 500, 50_000))
    bomb = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))
    return source.choice(
        (
            *("", "\n", "[]", "3", "text", "---\n---\n", "\ufeff" + text, text + text, "[" * deep),
            *("{a: " * deep, "a: &a {b: *a}", f"a0: &a0 [x]\n{bomb}", "- x\n" * deep, "? " * deep),
            *(
                f"defaults: [{'x, ' * deep}]",
                "defaults: recipe",
                "defaults: [recipe]\n" + text,
                "x" * 2_000_000,
            ),
            *(
                "defaults:\n  - ../../../etc/passwd\n",
                "defaults: [{robot: [go2, a1]}]",
                "hydra: {run: {dir: x}}",
            ),
            source.randbytes(300),
            text.encode("utf-16"),
        )
    )


MUTATORS: tuple[Callable[[str, random.Random], str | bytes], ...] = (
    damaged_bytes,
    damaged_lines,
    odd_values,
    other_files,
)


def odd_overrides(source: random.Random, canary: str) -> list[str]:
    """Some overrides of the command line."""
    keys = [
        *known_keys(),
        "robot",
        "terrain",
        "+preset",
        "unknown",
        "",
        "training",
        "hydra.run.dir",
        "lr",
    ]
    found = []
    for _ in range(source.choice((1, 1, 2, 4))):
        value = source.choice((*_VALUES, *_CODE)).replace("{canary}", canary)
        sign = source.choice(("=", "=", "=", "=", "", ":", "=="))
        prefix = source.choice(("", "", "", "+", "++", "~"))
        found.append(f"{prefix}{source.choice(keys)}{sign}{value}")
    return [each for each in found if not each.startswith("-")]


def read_batch(folder: str, seeds: list[int], out: str) -> int:
    """Mutate a recipe or its overrides once per seed, and print the config."""
    os.chdir(folder)

    def trial(seed: int) -> str:
        source = random.Random(seed)
        recipe = CONFIG_DIR / f"{source.choice(_RECIPES)}.yaml"
        if seed % 5 == 4:
            return _outcome(recipe, odd_overrides(source, f"{folder}/canary"))
        content = MUTATORS[seed % 5](recipe.read_text(), source)
        path = Path("recipe.yaml")
        if isinstance(content, str):
            content = content.replace("{canary}", f"{folder}/canary").encode(
                "utf-8", "surrogatepass"
            )
        path.write_bytes(content)
        return _outcome(path, [])

    write_outcomes(trial, seeds, out)
    return 0


def _outcome(recipe: Path, overrides: list[str]) -> str:
    """ "refused with one line", "valid", or what is wrong with the way in which the command ended."""
    arguments = ["--config", str(recipe), "--print-config"]
    code, error, output = printed([*arguments, "--", *overrides] if overrides else arguments)
    if code == 2:
        one_line = error.startswith("error: ") and error.count("\n") == 1 and len(error) < 1200
        return "refused with one line" if one_line else f"not one line: {error[-500:]!r}"
    if code != 0:
        return f"exit {code}: {error[-500:]}"
    again = Path("again.yaml")
    again.write_text(output)
    code, error, second = printed(["--config", str(again), "--print-config"])
    return "valid" if (code, second) == (0, output) else f"differs when read again: {error[-300:]}"


def malformed_configs(folder: Path, trials: int, seed: int) -> Measure:
    """Damaged recipes, odd values and odd overrides."""
    measure = Measure("malformed configs and overrides", _DEMAND)
    job = Job(read_batch, {"folder": str(folder)})
    in_batches(job, range(seed, seed + trials), folder / "outcomes", measure, _GOOD)
    measure.require(not (folder / "canary").exists(), "code of a config was run")
    left = {path.name for path in folder.iterdir()} - {
        "outcomes",
        "recipe.yaml",
        "again.yaml",
        "canary",
    }
    measure.require(not left, f"files were left: {left}")
    return measure
