"""What the package shows to its users: complete, sorted and documented."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import aio_databases
from aio_databases import errors

ERRORS = [name for name in errors.__all__ if inspect.isclass(getattr(errors, name))]


def public_names(module):
    """List what a module defines or imports for its users."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "annotations" and not isinstance(value, ModuleType)
    }


@pytest.mark.parametrize("module", [aio_databases, errors])
def test_exported_names_are_sorted_and_unique(module):
    assert sorted(set(module.__all__)) == list(module.__all__)


def test_every_public_name_is_exported():
    assert public_names(aio_databases) == {name for name in aio_databases.__all__ if not name.startswith("_")}


def test_the_page_of_the_api_lists_what_users_may_import():
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    section = page.partition("## What you may import")[2].partition("From `aio_databases.contrib")[0]
    listed = set(re.findall(r"`(\w+)`", section)) - {"aio_databases"}
    assert listed == {name for name in aio_databases.__all__ if not name.startswith("_")}


@pytest.mark.parametrize(("former", "name"), [("TurnTimeout", "ConnectionBusy"), ("Writes", "WriteTracker")])
def test_a_name_that_has_changed_warns(former, name):
    with pytest.warns(DeprecationWarning, match=f"{former} is called {name}"):
        assert getattr(aio_databases, former) is getattr(aio_databases, name)


@pytest.mark.parametrize("name", aio_databases.__all__)
def test_every_exported_name_exists(name):
    assert hasattr(aio_databases, name)


@pytest.mark.parametrize("name", aio_databases.__all__)
def test_every_exported_class_and_function_has_a_docstring_of_its_own(name):
    value = getattr(aio_databases, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert (vars(value) if inspect.isclass(value) else {"__doc__": value.__doc__}).get("__doc__")


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_can_be_caught_by_its_name_at_top_level(name):
    assert getattr(errors, name) is getattr(aio_databases, name)


def test_every_error_class_is_exported():
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.Error) and not name.startswith("_")
    }
    assert defined <= set(errors.__all__)


def test_the_version_is_a_string():
    assert aio_databases.__version__[0].isdigit()


WANTED_RARELY = {"decimal", "difflib", "importlib.metadata", "json", "pathlib", "uuid"}
IMPORT = """
import sys
import anyio, asyncio, logging  # what they bring along is theirs

before = set(sys.modules)
import aio_databases
print(*sorted(set(sys.modules) - before))
"""


def test_importing_the_package_does_not_import_what_is_wanted_rarely():
    answer = subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True)
    imported = set(answer.stdout.split())
    assert "aio_databases.database" in imported
    assert set() == imported & WANTED_RARELY
