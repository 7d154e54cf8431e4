"""The house: imports point one way, files go round in no circle, and databases are known in one place only.

Imports for type checkers count like all others: a reader follows them, too.
"""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from aio_databases.dialects import _DIALECTS

PACKAGE = "aio_databases"
FOLDER = Path(__file__).parents[1] / PACKAGE

# From top to bottom.  A file imports from its own package and from the rows below; "" is the package itself.
ROWS = (
    ("compat", "contrib", "testing"),
    ("",),
    ("database",),
    ("compat.v1",),  # the names of 1.x that the package offers itself
    ("blocks",),
    ("connection",),
    ("verbs",),
    ("retries", "streams"),
    ("transaction",),
    ("transactions", "replicas"),
    ("pool",),
    ("physical_connection",),
    ("drivers",),
    ("concurrency", "config", "sql", "rows"),
    ("dialects",),
    ("errors",),
)


def files():
    """Map the dotted name of each module, without the package's, to its file."""
    found = {}
    for path in FOLDER.rglob("*.py"):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


FILES = files()


def room(module):
    """Return the package of a module, the name of a file at the root, or a module that has a row for itself."""
    return module if any(module in rooms for rooms in ROWS) else module.partition(".")[0]


def row(module):
    """Return the number of the row of a module, or None."""
    return next((number for number, rooms in enumerate(ROWS) if room(module) in rooms), None)


def tree_of(module):
    """Return the syntax tree of a module."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imported(module):
    """Return the modules of ours that a module imports: at the top, in functions, and for type checkers."""
    names = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports by a relative name"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {ours for name in names if (ours := nearest_module(name)) is not None} - {module}


def nearest_module(name):
    """Return the module of ours that defines a dotted name, or None for one of others."""
    package, _, rest = name.partition(".")
    if package != PACKAGE:
        return None
    while rest and rest not in FILES:
        rest = rest.rpartition(".")[0]
    return rest


@pytest.mark.parametrize("module", sorted(FILES))
def test_every_file_has_its_room(module):
    assert row(module) is not None, f"add {room(module)} to ROWS"


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_down(module):
    others = {name for name in imported(module) if room(name) != room(module)}
    assert {name for name in others if row(name) <= row(module)} == set()


def test_files_go_round_in_no_circle():
    order = list(TopologicalSorter({module: imported(module) for module in FILES}).static_order())
    assert set(order) == set(FILES)


def test_the_rows_name_only_what_exists():
    rooms = {name for names in ROWS for name in names}
    assert rooms == {room(module) for module in FILES}


def test_at_most_24_files_lie_at_the_root():
    assert len(list(FOLDER.glob("*.py"))) <= 24


# Databases

NAMES = {*_DIALECTS, "mariadb", "galera", "oracle", "mssql"}
CORE = sorted(module for module in FILES if room(module) not in {"dialects", "drivers", "contrib", "compat", "testing"})
# What a message or a scheme says is not a decision.
TEXTS = {("config.url", "sqlite"), ("drivers", "odbc")}


def literals(module):
    """Return the texts and numbers of a module, without its docstrings."""
    tree = tree_of(module)
    docs = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs]


@pytest.mark.parametrize("module", CORE)
def test_the_core_knows_no_database_by_name(module):
    found = {text for text in literals(module) if isinstance(text, str) and text.lower() in NAMES}
    assert {name for name in found if (module, name) not in TEXTS} == set()


@pytest.mark.parametrize("module", CORE)
def test_the_core_knows_no_code_of_an_error(module):
    """No SQLSTATE stands there, and no number of an error or SQLSTATE is compared with one."""
    texts = {text for text in literals(module) if isinstance(text, str)}
    assert {text for text in texts if re.fullmatch(r"(?=.*\d)[0-9A-Z]{5}", text)} == set()
    compared = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Compare)]
    codes = [node for node in compared if re.search(r"\b(errno|sqlstate)\b", ast.unparse(node))]
    assert [ast.unparse(node) for node in codes if "None" not in ast.unparse(node)] == []
