"""Links between the pages of docs, and the files that pages and code name, lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def prose(page):
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page):
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
    for path, anchor in LINK.findall(prose(page)):
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {path}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {path}#{anchor}"


def test_pages_named_in_code_and_recipes_exist():
    files = [
        path for room in ("src", "recipes", "benchmarks", "examples") for path in (ROOT / room).rglob("*.*")
    ]
    texts = [path for path in files if path.suffix in {".py", ".toml", ".md", ".ipynb", ".sh", ".sbatch"}]
    named = {name for path in texts for name in re.findall(r"docs/[\w./-]+\.md", path.read_text("utf-8"))}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_files_named_in_pages_exist():
    files = [
        path.as_posix()
        for room in ("src", "tests", "benchmarks", "examples")
        for path in (ROOT / room).rglob("*.py")
    ]
    dropped_in = {"barlow_twins.py", "convnet5.py", "lab_notes.py"}  # made by the reader of docs/extending.md
    for page in (ROOT / "docs").glob("*.md"):
        for name in re.findall(r"`(?:python )?([\w/]+\.py)\b", prose(page)):
            exists = any(file.endswith(f"/{name}") for file in files)
            assert exists or Path(name).name in dropped_in, f"{page.name}: {name}"


def test_the_walk_to_the_f1_takes_at_most_twelve_files_and_names_what_they_define():
    rows = re.findall(
        r"^\| \d+ \| `([\w/]+\.py)` \| (.*) \|$", prose(ROOT / "docs" / "architecture.md"), re.MULTILINE
    )
    assert 1 < len(rows) <= 12
    for file, text in rows:
        code = (ROOT / "src" / "mien" / file).read_text(encoding="utf-8")
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", text):
            assert re.search(rf"^ *(?:def|class) {name}\b", code, re.MULTILINE), f"{file}: {name}"
