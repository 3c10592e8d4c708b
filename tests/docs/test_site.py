"""The documentation as a site: it is built without warnings, every link has a target, and nothing is fetched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from documented_commands import ROOT

pytest.importorskip("material", reason="the extra 'docs' is not installed")


class Page(HTMLParser):
    """Links, anchors and loaded resources of a page, and its paragraphs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.paragraphs: list[str] = []
        self._in_paragraph = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in ("img", "script", "iframe", "source", "video") and "src" in found:
            self.loaded.append(found["src"])
        elif tag == "link" and "href" in found and found.get("rel") != "canonical":
            self.loaded.append(found["href"])
        elif tag == "p":
            self.paragraphs.append("")
        self._in_paragraph = tag == "p" or (self._in_paragraph and tag not in ("pre", "li"))

    def handle_endtag(self, tag: str) -> None:
        self._in_paragraph = self._in_paragraph and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._in_paragraph:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; the build fails on any warning, of missing pages, links and anchors too."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if path.parent.name != "drive"}


def test_every_link_and_resource_is_there(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            target, anchor = urldefrag(unquote(link))
            if re.match(r"[a-z]+:", target) or (path.name == "404.html" and target.startswith("/")):
                continue
            file = (path.parent / target).resolve() if target else path
            known = pages[file].anchors if file in pages else set()
            if not file.exists() or (anchor and file in pages and anchor not in known):
                broken.append((path.name, link))
    assert len(pages) > 20 and not broken


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page]) -> None:
    loaded = {link for page in pages.values() for link in page.loaded}
    assert [link for link in loaded if re.match(r"(https?:)?//", link)] == []


def test_no_list_or_table_was_left_as_text(pages: dict[Path, Page]) -> None:
    """GitHub starts a list or a table within a paragraph; the site needs an empty line before it."""
    found = [
        (path.name, text[:80])
        for path, page in pages.items()
        for text in page.paragraphs
        if re.search(r"\n(- |\d+\. |\|)|```|\]\(", text)
    ]
    assert found == []


def test_every_page_is_in_the_navigation_and_in_llms_txt(site: Path) -> None:
    listed = re.findall(
        r"^- \[.+\]\((.+\.md)\): (.+)$", (site / "llms.txt").read_text(), flags=re.M
    )
    docs = ROOT / "docs"
    assert {name for name, _ in listed} == {
        p.relative_to(docs).as_posix() for p in docs.rglob("*.md")
    }
    assert all((site / name).is_file() for name, _ in listed)


def test_links_of_the_readme_lead_to_files_and_anchors(pages: dict[Path, Page], site: Path) -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text()):
            target, anchor = urldefrag(link)
            if re.match(r"[a-z]+:", target):
                continue
            assert (ROOT / target).exists(), (name, link)
            if anchor and target.startswith("docs/"):
                page = site / target.removeprefix("docs/").replace(".md", ".html")
                assert anchor in pages[page].anchors, (name, link)
