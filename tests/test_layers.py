"""Imports inside the package only point down, as the floor plan of docs/design.md draws it."""

from __future__ import annotations

import ast
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "aio_databases"
FOLDER = Path(__file__).parents[1] / PACKAGE

# From top to bottom.  A module imports from the rows below its own, or from its own row; nothing goes round in circles.
LAYERS = (
    ("contrib", "contrib.*"),  # stands on what users see
    ("",),  # the package itself: what users see
    ("database",),
    ("blocks",),
    ("connection",),
    ("verbs",),
    ("transaction", "streams", "retries"),
    ("transactions.scope",),
    ("replicas.router",),
    ("replicas.lag",),
    ("physical_connection.losses", "physical_connection.recovery", "sql.bad_parameters"),
    ("pool.shared",),
    ("pool.pool",),
    ("pool.slots",),
    ("pool.leases",),
    ("physical_connection.connection",),
    ("pool.connector", "physical_connection.lock"),
    ("drivers.api",),
    ("drivers", "drivers.*"),
    ("drivers.base",),
    ("config.options",),
    ("rows.mapping", "concurrency.loop_callbacks", "concurrency.shields", "sql.translator", "concurrency.queues"),
    (
        "sql.insert_batches",
        "pool.breaker",
        "concurrency.loops",
        "transactions.deadline",
        "dialects.error_codes",
        "concurrency.forks",
        "transactions.hooks",
        "replicas.positions",
    ),
    (
        "rows.annotations",
        "rows.json_values",
        "sql.lists",
        "sql.query_objects",
        "rows.record",
        "concurrency.stack_traces",
        "sql.statements",
        "config.url",
        "transactions.write_tracker",
    ),
    (
        "errors",
        "concurrency",
        "config",
        "dialects",
        "physical_connection",
        "pool",
        "replicas",
        "rows",
        "sql",
        "transactions",
    ),
)
LEAVES = LAYERS[-3] + LAYERS[-2]  # import nothing of ours but the errors, and not each other


def modules():
    """Map the dotted name of each module, without the package's, to its file."""
    found = {}
    for path in FOLDER.rglob("*.py"):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def layer(module):
    """Tell the row of a module; a full name counts before a pattern.  None when the table does not know it."""
    for matches in (str.__eq__, fnmatch):
        for row, names in enumerate(LAYERS):
            if any(matches(module, name) for name in names):
                return row
    return None


def imported(module):
    """List what of ours a module imports, at the top and in functions.

    What stands below `if TYPE_CHECKING` is left out: an object may be handed to the layer below, which names its type.
    """
    names = set()
    for node in statements(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(module, node)
            names.update(f"{origin}.{alias.name}" for alias in node.names)
    return {ours for name in names if (ours := nearest_module(name)) is not None} - {module}


def statements(node):
    """Walk through a tree, without the parts that only type checkers read."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from statements(child)


def absolute(module, node):
    """Resolve the origin of a `from ... import`."""
    if not node.level:
        return node.module
    is_package = MODULES[module].name == "__init__.py"
    parts = [PACKAGE, *filter(None, module.split("."))]
    base = parts[: len(parts) + is_package - node.level]
    return ".".join([*base, *([node.module] if node.module else [])])


def nearest_module(name):
    """Find the module of ours that defines a dotted name; None when it is not ours."""
    package, _, rest = name.partition(".")
    if package != PACKAGE:
        return None
    while rest and rest not in MODULES:
        rest = rest.rpartition(".")[0]
    return rest


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_module_has_its_place_in_the_table(module):
    assert layer(module) is not None, f"say in LAYERS where {module} belongs"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_do_not_point_up(module):
    upward = {name for name in imported(module) if layer(name) < layer(module)}
    assert set() == upward


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_imports_only_the_errors(leaf):
    assert leaf in MODULES
    assert imported(leaf) <= {"errors"}


def test_the_errors_import_nothing_of_ours():
    assert set() == imported("errors")


def test_imports_do_not_go_round_in_circles():
    order = list(TopologicalSorter({module: imported(module) for module in MODULES}).static_order())
    assert set(MODULES) == set(order)


def test_the_table_names_only_modules_that_exist():
    names = {name for row in LAYERS for name in row if "*" not in name}
    assert set() == names - set(MODULES)
