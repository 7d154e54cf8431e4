"""What the tests of the seam have in common: they call a driver's connection as the library itself does."""

from __future__ import annotations

COUNT = "select count(*) from numbers"


def mark(driver, number=1):
    """Return the placeholder of a parameter."""
    return {"numeric_dollar": f"${number}", "qmark": "?", "format": "%s", "pyformat": "%s"}[driver.paramstyle]


async def value(connection, sql, *params):
    """Return the first column of the first row."""
    return (await connection.fetch(sql, params, 1))[0][0]


def verbs(connection, sql):
    """Return each verb of a connection with arguments to call it."""
    return (
        (connection.execute, (sql, ())),
        (connection.executemany, (sql, [(), ()])),
        (connection.fetch, (sql, (), None)),
        (connection.fetch, (sql, (), 1)),
        (connection.fetch, (sql, (), 5)),
        (connection.cursor(sql, ()).fetch, (5,)),
    )
