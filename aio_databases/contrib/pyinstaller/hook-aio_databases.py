"""PyInstaller's hook: what is imported by name, and what is imported by libraries whose code is compiled."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_submodules  # type: ignore[import-not-found,import-untyped,unused-ignore]

hiddenimports = [module for package in ("aio_databases.drivers", "asyncmy") for module in collect_submodules(package)]
