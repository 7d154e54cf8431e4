"""Write what was found elsewhere into pages, each part between two comments that name it.

`<!-- NAME: written by SCRIPT -->` begins a part, `<!-- end of NAME -->` ends it.  A script that writes parts has
`pages()`: the parts of each page, by their names.  The tests compare them with what stands there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Pages = Mapping[Path, Mapping[str, str]]


def renewed(page: Path, parts: Mapping[str, str]) -> str:
    """Return the text of a page with its parts as they have to be."""
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        found = re.compile(rf"(<!-- {name}: written by \S+ -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if len(found.findall(text)) != 1:
            raise SystemExit(f"{page.name} has to have one pair of comments around what is called {name!r}")
        text = found.sub(lambda comments, part=part: f"{comments[1]}\n{part}\n\n{comments[2]}", text)
    return text


def renew(pages: Pages) -> None:
    """Write the parts into their pages."""
    for page, parts in pages.items():
        page.write_text(renewed(page, parts), encoding="utf-8")


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], *, numbers: bool = False) -> str:
    """Return a table in Markdown; ``numbers``: all columns but the first are flush right."""
    heads = list(heads)
    rule = ["---", *["---:" if numbers else "---"] * (len(heads) - 1)]
    return "\n".join([_line(heads), f"|{'|'.join(rule)}|", *map(_line, rows)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
