"""Pin what the package and its extras require to the oldest versions that pyproject.toml allows.

`python scripts/lower_bounds.py FILE` writes a requirements file; the environment `oldest` of tox.ini installs it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BOUNDED = re.compile(r"(?P<package>(?P<name>[\w.-]+)(\[[\w,-]+\])?)>=(?P<version>[\d.]+)(,.*)?")
OURSELVES = re.compile(r"aio-databases\[[\w,-]+\]")


def lower_bounds(project: dict[str, Any]) -> list[str]:
    """Return the requirements of a project and all its extras, each pinned to its lower bound.

    Raises SystemExit for a requirement without one, and for two different ones of the same package.
    """
    pins: dict[str, str] = {}
    for requirement in sum(project["optional-dependencies"].values(), start=project["dependencies"]):
        if OURSELVES.fullmatch(requirement):
            continue
        bound = BOUNDED.fullmatch(requirement)
        if bound is None:
            raise SystemExit(f"the requirement {requirement!r} in pyproject.toml has no lower bound that is understood")
        pin = f"{bound['package']}=={bound['version']}"
        if pins.setdefault(bound["name"], pin) != pin:
            raise SystemExit(f"pyproject.toml has two lower bounds: {pin} and {pins[bound['name']]}")
    return sorted(pins.values())


if __name__ == "__main__":
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    Path(sys.argv[1]).write_text("\n".join(lower_bounds(declared["project"])) + "\n", encoding="utf-8")
