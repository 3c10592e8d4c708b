"""Reads the commands, configuration keys and paths that documentation shows."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from legged_ppo.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
_SHELL = ("", "bash", "sh", "console")


def program_of(command: str) -> str:
    """Script of a command of `legged-ppo`, or its module where it has no script."""
    script = "train_phase1.py" if command == "train" else f"{command}.py"
    return script if (ROOT / script).is_file() else f"legged_ppo.cli.{command}"


MODULES = {program_of(name): f"legged_ppo.cli.{name}" for name in COMMANDS}
MODULES["legged_ppo.deploy.run"] = "legged_ppo.deploy.run"
"""The modules that parse the arguments of our programs."""


def parser_of(program: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = importlib.import_module(MODULES[program]).make_parser()
    return parser


def shell_lines(text: str) -> Iterator[str]:
    """Lines of the blocks of Markdown in which commands stand: indented ones, and fences of no language or of
    a shell. Lines that end with a backslash are joined with the next; comments are cut."""
    fence: str | None = None
    pending = ""
    for line in text.splitlines():
        if found := re.match(r"\s*(```|~~~~)(\w*)", line):
            fence = found[2] if fence is None else None
            continue
        shown = fence in _SHELL if fence is not None else line.startswith("    ")
        if not shown:
            continue
        pending += line.strip().removeprefix("$ ")
        if pending.endswith("\\"):
            pending = pending.removesuffix("\\")
            continue
        yield pending
        pending = ""


def commands(text: str) -> list[list[str]]:
    """The words of every line of a block that is a command: of ours, or of a program that the pages may use."""
    found = []
    for line in shell_lines(text):
        for part in line.split(" && "):
            if not re.match(r"([A-Z_]+=\S* )*(\.|[a-z][\w.-]*)( |$)", part):
                continue
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue  # prose or YAML with an apostrophe
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words.pop(0)
            redirected = [n for n, word in enumerate(words) if word in (">", "|", "&")]
            words = words[: redirected[0]] if redirected else words
            found += [words] if words else []
    return found


def ours(words: list[str]) -> list[str] | None:
    """Program and arguments of a command that starts one of ours; None for any other."""
    first, *rest = words
    if first == "legged-ppo" and rest and rest[0] in COMMANDS:
        return [program_of(rest[0]), *rest[1:]]
    if first == "torchrun":
        rest = [word for word in rest if not word.startswith("--nproc")]
    elif first not in ("python", "python3"):
        return None
    if rest[:1] == ["-m"]:
        rest.pop(0)
    return rest if rest and rest[0] in MODULES else None


def our_commands(text: str) -> list[list[str]]:
    """The commands of a text that start one of our programs, as program and arguments."""
    return [found for words in commands(text) if (found := ours(words))]


def code_spans(text: str) -> list[str]:
    """What stands between single backticks, outside fences, on one line or over two."""
    prose = re.sub(r"(?ms)^\s*(```|~~~~).*?^\s*\1", "", text)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
