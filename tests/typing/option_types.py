"""What type checkers conclude from the options of a `Database`; read by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any

from aio_databases import Database

db = Database("asyncpg://localhost/shop", max_size=5, server_settings={"jit": "off"}, json=True, reset="never")
Database("asyncpg://localhost/shop", max_siz=5)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
Database("asyncpg://localhost/shop", max_size="5")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

others: dict[str, Any] = {"option_of_another_package": 1}
Database("other://localhost/shop", **others)
