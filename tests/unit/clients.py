"""Ask a server one question, on a connection of its own."""

from __future__ import annotations

import asyncio
from contextlib import closing
from urllib.parse import unquote, urlsplit

import asyncpg
import pymysql

WRONG_PASSWORD = r"password authentication failed|\(1045, "
REFUSED = r"Connect call failed|\(2003, "
SILENT = r"^$|\(2013, .*timed out"
UNKNOWN_DATABASE = r"does not exist|\(1049, "
ERRORS = (asyncpg.PostgresError, pymysql.err.OperationalError, OSError)
"""What `query` raises; the patterns above tell them apart."""


def query(url, sql, timeout=5.0, **options):
    """Return the first value of the first row, or None."""
    if urlsplit(url).scheme == "postgresql":
        return asyncio.run(ask_postgres(url, sql, timeout, **options))
    with closing(connect_mysql(url, timeout, **options)) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        row = cursor.fetchone()
        return row and row[0]


async def ask_postgres(url, sql, timeout, **options):
    connection = await asyncpg.connect(url, timeout=timeout, **options)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def connect_mysql(url, timeout=5.0, **options):
    parts = urlsplit(url)
    address = {"host": parts.hostname, "port": parts.port, "database": parts.path.lstrip("/")}
    login = {"user": unquote(parts.username), "password": unquote(parts.password)}
    return pymysql.connect(**{**address, **login, "read_timeout": timeout, "autocommit": True, **options})
