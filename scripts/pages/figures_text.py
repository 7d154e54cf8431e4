"""How figures and names are written on the pages."""

from __future__ import annotations

OURS, AGAIN = "aio_databases", ", again"
PRODUCTS = {"postgresql": "PostgreSQL", "mysql": "MariaDB", "sqlite": "SQLite"}
KIBIBYTE, MEBIBYTE = 1 << 10, 1 << 20


def three(number: float) -> str:
    """Return a number with as many digits as mean something."""
    digits = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2  # noqa: PLR2004 - powers of ten
    return f"{number:,.{digits}f}"


def named(system: str) -> str:
    """Return the name of a system; ours is bold."""
    if system.endswith(AGAIN):
        return f"*{system} (noise)*"
    return f"**{system}**" if system == OURS else system
