"""The house: imports point one way, files go round in no circle, and databases are known in one place only.

Imports for type checkers count like all others: a reader follows them, too.
"""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter

import pytest

import house
from aio_databases.dialects import _DIALECTS

HOUSE = house.House()
room, row = HOUSE.room, HOUSE.row


@pytest.mark.parametrize("module", HOUSE.files)
def test_every_file_has_its_room(module):
    assert row(module) is not None, f"add {room(module)} to ROWS of scripts/pages/house.py"


@pytest.mark.parametrize("module", HOUSE.files)
def test_imports_point_down(module):
    others = {name for name in HOUSE.imports[module] if room(name) != room(module)}
    assert {name for name in others if row(name) <= row(module)} == set()


def test_files_go_round_in_no_circle():
    order = list(TopologicalSorter(HOUSE.imports).static_order())
    assert set(order) == set(HOUSE.files)


def test_the_rows_name_only_what_exists():
    rooms = {name for names in house.ROWS for name in names}
    assert rooms == {room(module) for module in HOUSE.files}


def test_at_most_24_files_lie_at_the_root():
    assert len(list(HOUSE.folder.glob("*.py"))) <= 24


def test_no_state_is_written_from_outside_of_its_class():
    assert HOUSE.state_writes() == []


def test_the_picture_shows_the_packages_as_they_are():
    assert house.PICTURE.read_text(encoding="utf-8") == house.picture(HOUSE), "run `python scripts/pages/house.py`"


# Databases

NAMES = {*_DIALECTS, "mariadb", "galera", "oracle", "mssql"}
CORE = sorted(
    module for module in HOUSE.files if room(module) not in {"dialects", "drivers", "contrib", "compat", "testing"}
)
# What a message or a scheme says is not a decision.
TEXTS = {("config.url", "sqlite"), ("drivers", "odbc")}


def literals(module):
    """Return the texts and numbers of a module, without its docstrings."""
    tree = HOUSE.trees[module]
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
    compared = [node for node in ast.walk(HOUSE.trees[module]) if isinstance(node, ast.Compare)]
    codes = [node for node in compared if re.search(r"\b(errno|sqlstate)\b", ast.unparse(node))]
    assert [ast.unparse(node) for node in codes if "None" not in ast.unparse(node)] == []
