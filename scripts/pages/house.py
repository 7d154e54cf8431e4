"""Count what the architecture promises, and draw the packages: `python scripts/pages/house.py [FOLDER]`.

It prints lines, files, circles and state that is written from outside of its class; without FOLDER, another checkout's
package, it also writes docs/house.svg.
"""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "aio_databases"
ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "house.svg"

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


class House:
    """The files of the package, and what they import: at the top, in functions, and for type checkers."""

    def __init__(self, folder: Path = ROOT / PACKAGE) -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            self.files[".".join(part for part in parts if part != "__init__")] = path
        self.trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in self.files.items()}
        self.imports = {module: self._imported(module) for module in self.files}

    def _imported(self, module: str) -> set[str]:
        names: set[str] = set()
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = f"{PACKAGE}.{node.module}" if node.level else node.module  # of the root's files only
                names.update(f"{origin}.{alias.name}" for alias in node.names)
        return {ours for name in names if (ours := self._nearest(name)) is not None} - {module}

    def _nearest(self, name: str) -> str | None:
        """Return the module of ours that defines a dotted name, or None for one of others."""
        package, _, rest = name.partition(".")
        if package != PACKAGE:
            return None
        while rest and rest not in self.files:
            rest = rest.rpartition(".")[0]
        return rest

    @staticmethod
    def room(module: str) -> str:
        """Return the package of a module, the name of a file at the root, or a module that has a row for itself."""
        return module if any(module in rooms for rooms in ROWS) else module.partition(".")[0]

    @classmethod
    def row(cls, module: str) -> int | None:
        """Return the number of the row of a module."""
        return next((number for number, rooms in enumerate(ROWS) if cls.room(module) in rooms), None)

    @property
    def arrows(self) -> dict[str, set[str]]:
        """What each room imports from others."""
        found: dict[str, set[str]] = {}
        for module, names in self.imports.items():
            room = self.room(module)
            found.setdefault(room, set()).update({self.room(name) for name in names} - {room})
        return found

    def circles(self) -> list[list[str]]:
        """Return a circle of files, if there is one."""
        try:
            list(TopologicalSorter(self.imports).static_order())
        except CycleError as exc:
            return [exc.args[1]]
        return []

    def lines(self) -> int:
        """Count the lines of the package, without the fake driver."""
        return sum(
            len(path.read_text(encoding="utf-8").splitlines())
            for module, path in self.files.items()
            if self.room(module) != "testing"
        )

    def state_writes(self) -> list[str]:
        """List where an attribute of another object is written.

        Left out are a function's own new object, exceptions (which are told more on their way), and objects of other
        libraries, which are called `raw`, `db` or `context` here.
        """
        found: list[str] = []
        for module, tree in self.trees.items():
            if self.room(module) == "testing":
                continue
            for function in ast.walk(tree):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    found += [f"{module}:{line} {text}" for line, text in _writes_in(function)]
        return sorted(set(found))


_OWN = {"self", "cls", "error", "exc", "exception", "failure", "last", "raw", "db", "context", "found"}
_OF_LIBRARIES = {
    *("raw", "_raw", "db", "future", "protocol", "_result", "result", "pyodbc", "daemon", "cursor", "_thread"),
    "_scope",
}


def _writes_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[int, str]]:
    made = {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return [
        (node.lineno, ast.unparse(node))
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and not (isinstance(node.value, ast.Name) and node.value.id in _OWN | made)
        and ast.unparse(node.value).rpartition(".")[2] not in _OF_LIBRARIES
    ]


# The picture

_WIDTH, _HEIGHT, _GAP, _BAND = 150, 26, 24, 60
_NAMES = {"": "aio_databases"}
_FONT = 'font-family="sans-serif" font-size="13"'


def essential(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows that no longer way stands for."""

    def reach(room: str) -> set[str]:
        return {other for near in arrows.get(room, ()) for other in {near, *reach(near)}}

    return {
        room: {near for near in nears if not any(near in reach(other) for other in nears - {near})}
        for room, nears in arrows.items()
    }


def picture(house: House) -> str:
    """Return the packages as an SVG: a room imports what its lines lead down to, and what that leads to."""
    width = max(len(rooms) for rooms in ROWS) * (_WIDTH + _GAP) + _GAP
    places: dict[str, tuple[float, float]] = {}
    for number, rooms in enumerate(ROWS):
        left = (width - len(rooms) * (_WIDTH + _GAP) + _GAP) / 2
        for position, room in enumerate(rooms):
            places[room] = (left + position * (_WIDTH + _GAP), _GAP + number * _BAND)
    height = len(ROWS) * _BAND + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for room, nears in sorted(essential(house.arrows).items()):
        for near in sorted(nears):
            (x, y), (to_x, to_y) = places[room], places[near]
            start, end = (x + _WIDTH / 2, y + _HEIGHT), (to_x + _WIDTH / 2, to_y)
            bend = (end[1] - start[1]) / 2
            parts.append(
                f'<path d="M{start[0]:g} {start[1]:g} C{start[0]:g} {start[1] + bend:g} {end[0]:g} {end[1] - bend:g} '
                f'{end[0]:g} {end[1]:g}" fill="none" stroke="#8a94a6"/>'
            )
    for room, (x, y) in places.items():
        is_file = house.files.get(room) is not None and house.files[room].name != "__init__.py"
        fill = "#fdf1dc" if is_file or not room else "#e3edf9"
        label = _NAMES.get(room, f"{room.replace('.', '/')}.py" if is_file else f"{room}/")
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="4" fill="{fill}" stroke="#5b6676"/>'
            f'<text x="{x + _WIDTH / 2:g}" y="{y + 17:g}" text-anchor="middle">{label}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Print the counts, and write the picture."""
    house = House(Path(sys.argv[1])) if len(sys.argv) > 1 else House()
    writes = house.state_writes()
    print(f"lines      {house.lines():6,}")
    print(f"files      {len(house.files):6,}, {len(list(house.folder.glob('*.py')))} of them at the root")
    print(f"circles    {len(house.circles()):6,}")
    print(f"state written from outside {len(writes)}")
    for each in writes:
        print(f"    {each}")
    if len(sys.argv) == 1:
        PICTURE.write_text(picture(house), encoding="utf-8")


if __name__ == "__main__":
    main()
