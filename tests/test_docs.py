"""Every Python block of README.md and docs/ runs.

The blocks of one page run in order, in one namespace and one task, with `await` allowed at top level, in an empty
temporary folder.  A block that starts an event loop of its own (`asyncio.run(...)`) runs in a thread.  An HTML comment
before a block, which readers of the page do not see, changes that:

* `<!-- not run: REASON -->`: the block is only compiled.
* `<!-- needs postgres -->`: `postgresql://app@localhost/shop` is replaced by the URL of a private server's database.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHOP = "postgresql://app@localhost/shop"
NEEDS_POSTGRES = "<!-- needs postgres -->"
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
    marks = [pytest.mark.server] if NEEDS_POSTGRES in page.read_text(encoding="utf-8") else []
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=marks)


async def run(block, filename, namespace, server_url=None):
    """Run one block; its line numbers in a traceback are those of the page."""
    source = "\n" * (block.line - 1) + block.source
    if server_url:
        source = source.replace(SHOP, server_url)
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


@pytest.mark.parametrize("page", [page_parameter(page) for page in PAGES])
async def test_the_python_blocks_of_the_page_run(page, request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__docs__"}
    text = page.read_text(encoding="utf-8")
    url = request.getfixturevalue("postgres_url") if NEEDS_POSTGRES in text else None
    for block in python_blocks(text):
        await run(block, str(page), namespace, url if block.comment == NEEDS_POSTGRES else None)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_no_python_block_escapes_by_another_name(page):
    """A fence that says `py`, `python3` or `{code-block} python` would not be run by the test above."""
    odd = [block.info for block in blocks(page.read_text(encoding="utf-8")) if re.search(r"\bpy", block.info)]
    assert {"python"}.issuperset(odd)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_every_marker_stands_before_a_python_block(page):
    """A misplaced or misspelt marker would silently do nothing."""
    text = page.read_text(encoding="utf-8")
    markers = re.findall(r"^<!-- (?:not run|needs).*-->$", text, flags=re.MULTILINE)
    obeyed = [block.comment for block in python_blocks(text) if block.comment.startswith("<!--")]
    assert markers == obeyed
    assert all(marker == NEEDS_POSTGRES or NOT_RUN.fullmatch(marker) for marker in markers)


async def test_blocks_share_their_names_and_may_await():
    page = "```python\nimport anyio\nvalue = 1\n```\n\ntext\n\n```python\nawait anyio.sleep(0)\nvalue += 1\n```\n"
    namespace = {}
    for block in python_blocks(page):
        await run(block, "page", namespace)
    assert 2 == namespace["value"]


async def test_a_block_that_fails_fails_at_its_line_of_the_page():
    (block,) = python_blocks("one\ntwo\n\n```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        await run(block, "page", {})
    assert 5 == caught.traceback[-1].lineno + 1


async def test_a_marked_block_is_compiled_but_not_run():
    (block,) = python_blocks("<!-- not run: shows an error -->\n\n```python\n1 / 0\n```\n")
    await run(block, "page", {})


async def test_a_block_may_start_an_event_loop():
    (block,) = python_blocks(
        "```python\nimport asyncio\nasync def main(): return 5\nvalue = asyncio.run(main())\n```\n"
    )
    namespace = {}
    await run(block, "page", namespace)
    assert 5 == namespace["value"]


async def test_the_url_of_a_marked_block_is_replaced():
    (block,) = python_blocks(f"<!-- needs postgres -->\n```python\nurl = {SHOP!r}\n```\n")
    namespace = {}
    await run(block, "page", namespace, "postgresql://elsewhere/db")
    assert "postgresql://elsewhere/db" == namespace["url"]
