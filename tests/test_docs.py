"""Every Python block of README.md and docs/ runs.

The blocks of one page run in order, in one namespace and one task, with `await` allowed at top level, in an empty
temporary folder.  A block that starts an event loop of its own (`asyncio.run(...)`) runs in a thread.  An HTML comment
before a block, which readers of the page do not see, changes that:

* `<!-- not run: REASON -->`: the block is only compiled.
* `<!-- needs postgres -->`, `<!-- needs mysql -->`: the URL in `SERVERS` is replaced by that of a private server's
  database; `<!-- needs odbc -->`: the name of SQLite's ODBC driver by that of the tests.

The sources that pages show, and what is generated into them, are as they have to be.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread
import pytest

import capabilities
import figures
import pages
from aio_databases.drivers import api

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVERS = {
    "<!-- needs postgres -->": ("postgresql://app@localhost/shop", "postgres_url"),
    "<!-- needs mysql -->": ("mysql://app@localhost/shop", "mysql_url"),
    "<!-- needs odbc -->": ("Driver={SQLite3}", "odbc_driver"),
}
"""The text that stands in a marked block, and the fixture that gives the one to use."""
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
FENCE = re.compile(r"(?P<indent> *)(?P<ticks>`{3,}|~{3,}|:{3,})(?P<info>.*)")
RUNS_A_LOOP = re.compile(r"\b(asyncio|trio|anyio)\.run\(")


class Block(NamedTuple):
    """A fenced block: the language after the fence, the line of its first line, and the line before the fence."""

    info: str
    line: int
    comment: str
    source: str


def blocks(text):
    """List the fenced blocks of a page."""
    found = []
    lines = iter(enumerate(text.splitlines(), 1))
    previous = ""
    for number, line in lines:
        fence = FENCE.fullmatch(line)
        if not fence or fence["ticks"].startswith(":"):
            previous = line.strip() or previous
            continue
        body = []
        for _, inner in lines:
            if inner.strip().startswith(fence["ticks"]) and not inner.strip().strip(fence["ticks"][0]):
                break
            body.append(inner.removeprefix(fence["indent"]))
        found.append(Block(fence["info"].strip(), number + 1, previous, "\n".join(body)))
        previous = ""
    return found


def python_blocks(text):
    """List the blocks of a page that hold Python."""
    return [block for block in blocks(text) if block.info == "python"]


def page_parameter(page):
    text = page.read_text(encoding="utf-8")
    marks = [pytest.mark.server] if any(marker in text for marker in SERVERS) else []
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks)


async def run(block, filename, namespace, urls=()):
    """Run one block; its line numbers in a traceback are those of the page."""
    source = "\n" * (block.line - 1) + block.source
    if block.comment in urls:
        source = source.replace(*urls[block.comment])
    code = compile(source, filename, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if NOT_RUN.fullmatch(block.comment):
        return
    if RUNS_A_LOOP.search(block.source):
        await anyio.to_thread.run_sync(eval, code, namespace)
        return
    pending = eval(code, namespace)  # noqa: S307 - running our own documentation is the purpose
    if code.co_flags & inspect.CO_COROUTINE:
        await pending


@pytest.fixture
def anyio_backend():
    """Run the documentation on asyncio, which its readers are expected to use."""
    return "asyncio"


@pytest.fixture
def odbc_driver(odbc):
    """Give what names SQLite's ODBC driver in a connection string."""
    return f"Driver={odbc('sqlite')}"


@pytest.mark.parametrize("page", [page_parameter(page) for page in PAGES])
async def test_the_python_blocks_of_the_page_run(page, request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__docs__"}
    text = page.read_text(encoding="utf-8")
    urls = {
        marker: (shown, request.getfixturevalue(fixture))
        for marker, (shown, fixture) in SERVERS.items()
        if marker in text
    }
    for block in python_blocks(text):
        await run(block, str(page), namespace, urls)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_no_python_block_escapes_by_another_name(page):
    """A fence that says `py`, `python3` or `{code-block} python` would not be run by the test above."""
    infos = {block.info for block in blocks(page.read_text(encoding="utf-8"))}
    assert {"python"}.issuperset(info for info in infos if re.search(r"^(\{.*\} *)?py", info))


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_every_marker_stands_before_a_python_block(page):
    """A misplaced or misspelt marker would silently do nothing."""
    text = page.read_text(encoding="utf-8")
    markers = re.findall(r"^<!-- (?:not run|needs).*-->$", text, flags=re.MULTILINE)
    obeyed = [block.comment for block in python_blocks(text) if block.comment.startswith("<!--")]
    assert markers == obeyed
    assert all(marker in SERVERS or NOT_RUN.fullmatch(marker) for marker in markers)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_a_marked_block_has_the_text_that_is_replaced(page):
    """Another one would be somebody else's server."""
    for block in python_blocks(page.read_text(encoding="utf-8")):
        shown, _ = SERVERS.get(block.comment, ("", ""))
        assert shown in block.source, f"line {block.line}"


def test_the_table_of_capabilities_is_that_of_the_drivers(odbc):
    ((page, parts),) = capabilities.pages().items()
    assert page.read_text(encoding="utf-8") == pages.renewed(page, parts), "run `python scripts/pages/capabilities.py`"


@pytest.mark.parametrize("page", [figures.PAGE, figures.README, figures.SCALING])
def test_the_figures_are_those_that_were_measured(page):
    parts = figures.pages()[page]
    assert page.read_text(encoding="utf-8") == pages.renewed(page, parts), "run `python scripts/pages/figures.py`"


def test_every_chart_that_is_shown_is_there_and_every_one_is_shown():
    text = "".join(page.read_text(encoding="utf-8") for page in (figures.PAGE, figures.SCALING))
    shown = set(re.findall(r"\]\(benchmarks/(\S+)\)", text))
    assert {chart.name for chart in figures.FOLDER.glob("*.svg")} == shown
    assert {chart.stem for chart in figures.FOLDER.glob("*.png")} == {Path(chart).stem for chart in shown}


def test_the_names_for_authors_of_drivers_are_those_of_the_module():
    page = (ROOT / "docs" / "custom-drivers.md").read_text(encoding="utf-8")
    table = re.findall(
        r"^\| .* \| (.*`.*) \|$", page.partition("## Names that are yours to use")[2], flags=re.MULTILINE
    )
    assert set(re.findall(r"`(\w+)`", " ".join(table))) == set(api.__all__)


async def test_blocks_share_their_names_and_may_await():
    page = "```python\nimport anyio\nvalue = 1\n```\n\ntext\n\n```python\nawait anyio.sleep(0)\nvalue += 1\n```\n"
    namespace = {}
    for block in python_blocks(page):
        await run(block, "page", namespace)
    assert namespace["value"] == 2


async def test_a_block_that_fails_fails_at_its_line_of_the_page():
    (block,) = python_blocks("one\ntwo\n\n```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        await run(block, "page", {})
    assert caught.traceback[-1].lineno + 1 == 5


async def test_a_marked_block_is_compiled_but_not_run():
    (block,) = python_blocks("<!-- not run: shows an error -->\n\n```python\n1 / 0\n```\n")
    await run(block, "page", {})


async def test_a_block_may_start_an_event_loop():
    (block,) = python_blocks(
        "```python\nimport asyncio\nasync def main(): return 5\nvalue = asyncio.run(main())\n```\n"
    )
    namespace = {}
    await run(block, "page", namespace)
    assert namespace["value"] == 5


@pytest.mark.parametrize("marker", SERVERS)
async def test_the_text_of_a_marked_block_is_replaced(marker):
    shown, _ = SERVERS[marker]
    marked, other = python_blocks("".join(f"{comment}\n```python\nurl = {shown!r}\n```\n" for comment in (marker, "")))
    namespace = {}
    await run(marked, "page", namespace, {marker: (shown, "scheme://elsewhere/db")})
    assert namespace["url"] == "scheme://elsewhere/db"
    await run(other, "page", namespace, {marker: (shown, "scheme://elsewhere/db")})
    assert shown == namespace["url"]
