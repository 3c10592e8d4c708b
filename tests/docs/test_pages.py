"""What the pages show exists: commands with their options, recipes and keys; files, make targets and extras."""

from __future__ import annotations

import functools
import re
import shlex
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from documented_commands import MODULES, ROOT, code_spans, commands, our_commands, ours, parser_of

from legged_ppo.cli.robot import read_config
from legged_ppo.config.keys import known_keys
from legged_ppo.config.loading import find_recipe, load_config
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.config.schema import Config

FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in FILES}
"""Without docs/experiments, whose notes name the commits that their commands and keys belong to."""
OURS = {shlex.join(words): words for text in PAGES.values() for words in our_commands(text)}
OTHERS = [words for text in PAGES.values() for words in commands(text) if not ours(words)]
SPANS = [(page, span) for page, text in PAGES.items() for span in code_spans(text)]
KEYS = known_keys()
SECTIONS = "|".join(sorted({key.split(".")[0] for key in KEYS if "." in key}))


@pytest.fixture(scope="module")
def parsers() -> dict[str, set[str]]:
    """The options of our programs, and of the scripts in benchmarks/ all together."""
    options = {name: set(parser_of(name)._option_string_actions) for name in MODULES}
    sources = "\n".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    return options | {"benchmarks": set(re.findall(r'"(--[\w-]+)"', sources))}


@functools.cache
def recipe_of_checkpoints() -> Config:
    return load_config("phase1_fast")


@pytest.mark.parametrize("line", OURS)
def test_a_shown_command_is_accepted(line: str) -> None:
    program, *words = OURS[line]
    arguments = parser_of(program).parse_intermixed_args(words)
    overrides = getattr(arguments, "overrides", None) or []
    overrides = [each for each in overrides if not each.startswith("extensions=")]
    recipe = getattr(arguments, "config", None)
    if program == "train_phase2.py":  # its recipe is composed with a teacher's: tests/training
        assert recipe is None or find_recipe(recipe).is_file()
    elif recipe and not Path(recipe).name.startswith("my_"):
        load_config(ROOT / recipe if (ROOT / recipe).exists() else recipe, overrides)
    elif program == "legged_ppo.cli.robot" and (ROOT / (arguments.file or "none")).exists():
        read_config(str(ROOT / arguments.file), overrides)
    else:
        apply_overrides(recipe_of_checkpoints(), overrides)


def test_the_pages_show_commands_of_every_program() -> None:
    assert {words[0] for words in OURS.values()} == set(MODULES)


def test_other_programs_find_what_they_name(parsers: dict[str, set[str]]) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    seen = set()
    for program, *words in OTHERS:
        shown = shlex.join([program, *words])
        if program == "make":
            assert words[0] in targets, shown
        elif program == "pip":
            extras = [re.fullmatch(r"\.\[(.*)\]", word) for word in words]
            named = chain(*(each[1].split(",") for each in extras if each))
            assert set(named) <= set(project["optional-dependencies"]), shown
        elif program in ("python", "python3") and words[0] != "-m":
            assert (ROOT / words[0]).is_file(), shown
            options = {word for word in words if word.startswith("--")}
            assert options <= parsers["benchmarks"], shown
        else:
            continue
        seen.add(program)
    assert seen == {"make", "pip", "python"}


def test_options_in_the_text_exist(parsers: dict[str, set[str]]) -> None:
    every = set().union(*parsers.values(), {"--no-install-recommends"})  # of apt-get
    wrong = []
    for page, span in SPANS:
        program = next((name for name in MODULES if name in span), None)
        checked = page != "docs/migrating.md" and (program or span.startswith("--"))
        options = set(re.findall(r"(?<!\S)--[a-z][\w-]*", span)) if checked else set()
        known = parsers[program] if program else every
        wrong += [(page, span) for option in options if option not in known]
    assert not wrong


def own_column(text: str) -> str:
    """Cells of the first column of the tables of docs/migrating.md, with the prefix that a table's head gives."""
    cells = []
    for section in text.split("\n## "):
        found = re.search(r"^\| here \(`([\w.]+)`\)", section, flags=re.M)
        prefix = found[1] if found else ""
        rows = re.findall(r"^\| (?!here|---)([^|]*) \|", section, flags=re.M)
        cells += [re.sub(r"`(\w+)`", rf"`{prefix}\1`", row) if prefix else row for row in rows]
    return "\n".join(cells)


def test_keys_in_the_text_exist() -> None:
    """On the page about other projects, in the first column of its tables."""
    wrong = []
    for page, text in PAGES.items():
        for span in code_spans(own_column(text) if page == "docs/migrating.md" else text):
            for key in re.findall(rf"(?<![\w./])((?:{SECTIONS})\.[a-z_][\w.]*)(?![\w/*(<])", span):
                parents = [key.rsplit(".", n)[0] for n in range(3)]
                free = any(KEYS.get(each, "").startswith("dict") for each in parents)
                other = re.search(r"_$|[A-Z]|\.(py|md|onnx|npz|xml|pth?)$", key)
                if key not in KEYS and not free and not other:
                    wrong.append((page, key))
    assert not wrong


def test_paths_in_the_text_exist() -> None:
    folders = "legged_ppo|tests|configs|benchmarks|examples|docs"
    wrong = [
        (page, span)
        for page, span in SPANS
        if re.fullmatch(rf"(?:{folders})/[a-z_\d./-]+(\.md)?", span) and not (ROOT / span).exists()
    ]
    assert not wrong


def test_the_tuning_page_has_every_figure_that_training_gives_advice_on() -> None:
    (rules,) = (ROOT / "legged_ppo").glob("*/health.py")
    figures = set(re.findall(r'"([A-Z][a-z]+/\w+)"', rules.read_text()))
    assert len(figures) >= 8
    assert [each for each in figures if f"`{each}`" not in PAGES["docs/tuning.md"]] == []


def test_metrics_in_the_text_are_defined_on_their_page() -> None:
    groups = "Train|Episode|Track|Curriculum|Eval|Loss|Policy|Distillation|Sim|Perf"
    defined = PAGES["docs/metrics.md"]
    for page, span in SPANS:
        if re.fullmatch(rf"(?:{groups})/[a-z]\w*", span):
            known = f"`{span}`" in defined or any(
                f"`{span[: n + 1]}<" in defined or f"`{span[: n + 1]}*" in defined
                for n, letter in enumerate(span)
                if letter in "/_"
            )
            assert known, (page, span)
