"""Configuration of the documentation, built by `sphinx-build -W docs OUT`."""

from __future__ import annotations

import aio_databases

project = "aio_databases"
author = "aio_databases contributors"
project_copyright = "2026, aio_databases contributors"
release = aio_databases.__version__
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = "aio_databases"

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# A reference that leads nowhere fails the build, as every other warning does.
nitpicky = False
suppress_warnings: list[str] = []
