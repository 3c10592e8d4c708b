"""MkDocs hooks: patterns in the navigation, source files that pages link to, llms.txt and the page to drive."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[1]
_SOURCE_LINK = re.compile(r"\]\((\.\./[^)#\s]+)(?:#[^)]*)?\)")
"""A relative link that leads out of a page's folder."""
_DRIVE = _ROOT / "dist" / "drive"
"""What `make docs-drive` writes: the page of `play.py --share`."""
_DRIVE_LINK = "[**Drive it now**](drive/index.html): W, A, S, D, or the buttons on a phone."
_DRIVE_MARK = "<!-- drive -->"
_LLMS = "llms.txt"

_navigation: Navigation
_markdown: dict[str, str] = {}
"""Text of the pages, by their path."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    docs = Path(config.docs_dir)
    config.nav = _expanded(config.nav or [], docs, set(_named(config.nav or [])))
    return config


def _named(entries: list[Any]) -> list[str]:
    """Pages that the navigation names without a pattern."""
    found: list[str] = []
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += _named(value) if isinstance(value, list) else [value]
    return [name for name in found if "*" not in name]


def _expanded(entries: list[Any], docs: Path, taken: set[str]) -> list[Any]:
    """The navigation with every pattern replaced by the pages it matches, without empty sections."""
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            ((title, content),) = entry.items()
            if isinstance(content, list):
                content = _expanded(content, docs, taken)
            found += [{title: content}] if content else []
        elif "*" in entry:
            matching = sorted(path.relative_to(docs).as_posix() for path in docs.glob(entry))
            found += [name for name in matching if name not in taken]
            taken.update(matching)
        else:
            found.append(entry)
    return found


def _linked_source(link: str, page: str) -> Path | None:
    """The file outside docs/ that a page's link leads to, from the root of the repository."""
    target = (_ROOT / "docs" / page).parent.joinpath(link).resolve()
    inside = target.is_relative_to(_ROOT) and not target.is_relative_to(_ROOT / "docs")
    return target.relative_to(_ROOT) if inside and target.is_file() else None


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each source file that a page links to, llms.txt, and the page to drive if it was made."""
    for file in list(files.documentation_pages()):
        for link in _SOURCE_LINK.findall(file.content_string):
            source = _linked_source(link, file.src_uri)
            if source and f"source/{source.as_posix()}.md" not in files.src_uris:
                files.append(_source_page(source, config))
    files.append(File.generated(config, _LLMS, content=""))  # written once the pages are
    if (_DRIVE / "page.json").is_file():
        for path in sorted(each for each in _DRIVE.rglob("*") if each.is_file()):
            name = path.relative_to(_DRIVE.parent).as_posix()
            files.append(File(name, str(_DRIVE.parent), config.site_dir, False))
    return files


def _source_page(source: Path, config: MkDocsConfig) -> File:
    language = {".py": "python", ".yaml": "yaml"}.get(source.suffix, "text")
    text = (_ROOT / source).read_text()
    content = f"""---
search: {{exclude: true}}
---
# `{source.as_posix()}`

~~~~{language}
{text}~~~~
"""
    return File.generated(config, f"source/{source.as_posix()}.md", content=content)


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    global _navigation
    _navigation = nav
    return nav


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to source files to their pages, and keep the text for llms.txt."""

    def replaced(match: re.Match[str]) -> str:
        source = _linked_source(match[1], page.file.src_uri)
        if source is None:
            return match[0]
        up = "../" * page.file.src_uri.count("/")
        return f"]({up}source/{source.as_posix()}.md)"

    if (_DRIVE / "page.json").is_file():
        markdown = markdown.replace(_DRIVE_MARK, _DRIVE_LINK)
    _markdown[page.file.src_uri] = markdown
    return _SOURCE_LINK.sub(replaced, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt (https://llmstxt.org), which lists the pages as Markdown, and these beside the pages."""
    site = Path(config.site_dir)
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    section = None
    for page in _navigation.pages:
        sections = list(page.ancestors)
        title = sections[-1].title if sections else "Introduction"
        if title != section:
            lines += ["", f"## {title}", ""]
            section = title
        name = page.file.src_uri
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(_markdown[name])
        lines.append(f"- [{page.title}]({name}): {_first_sentence(_markdown[name])}")
    (site / _LLMS).write_text("\n".join(lines).replace("\n\n\n", "\n\n") + "\n")


def _first_sentence(markdown: str) -> str:
    """The first sentence of a page's first paragraph of prose, without links and emphasis."""
    prose = re.sub(r"(?ms)^\s*(```|~~~~).*?^\s*\1", "", markdown)
    for block in re.split(r"\n\s*\n", prose):
        if re.match(r"[A-Z`]", block):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(block.split()))
            return re.split(r"(?<=\.)\s", text.replace("*", ""))[0]
    return ""
