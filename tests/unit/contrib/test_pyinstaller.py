"""PyInstaller finds the drivers, which are imported by the names of the table in `aio_databases.drivers`.

Frozen programs raised ModuleNotFoundError for every driver.  PyInstaller itself takes minutes, so it is stood in for.
"""

from __future__ import annotations

import pkgutil
import runpy
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

from aio_databases.drivers import _DRIVERS

ENTRY_POINT = "aio_databases.contrib.pyinstaller:hook_dirs"


def submodules(name):
    package = import_module(name)
    return [name, *(each.name for each in pkgutil.walk_packages(package.__path__, f"{name}."))]


def test_the_hook_collects_every_driver(monkeypatch):
    hooks = ModuleType("PyInstaller.utils.hooks")
    hooks.collect_submodules = submodules
    monkeypatch.setitem(sys.modules, "PyInstaller", ModuleType("PyInstaller"))
    monkeypatch.setitem(sys.modules, "PyInstaller.utils", ModuleType("PyInstaller.utils"))
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", hooks)
    module, _, function = ENTRY_POINT.partition(":")
    (folder,) = getattr(import_module(module), function)()
    collected = runpy.run_path(f"{folder}/hook-aio_databases.py")["hiddenimports"]
    assert {path.partition(":")[0] for path in _DRIVERS.values()} <= set(collected)


def test_the_entry_point_leads_to_the_hook():
    project = tomllib.loads(Path(__file__).parents[3].joinpath("pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["pyinstaller40"] == {"hook-dirs": ENTRY_POINT}
