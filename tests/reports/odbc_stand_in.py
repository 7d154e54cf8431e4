"""A stand-in for pyodbc's connections, which answers by a script, for servers that are not there."""

from __future__ import annotations

import pyodbc


class Server:
    """What a server does: its product's name, the results of its statements, and what it was told.

    ``results`` has for a statement the list of its results: a number of rows that were changed, or a pair of the
    columns and the rows, or an exception.
    """

    def __init__(self, product, results=None):
        self.product = product
        self.results = results or {}
        self.told = []
        self.texts = []

    def connect(self, text, **_options):
        """Stand in for `pyodbc.connect`."""
        self.texts.append(text)
        return Connection(self)


class Connection:
    """Stands in for `pyodbc.Connection`."""

    timeout = 0

    def __init__(self, server):
        self.server = server
        self._autocommit = True

    @property
    def autocommit(self):
        """Tell whether each statement is a transaction."""
        return self._autocommit

    @autocommit.setter
    def autocommit(self, value):
        if value is not self._autocommit:
            self._autocommit = value
            self.server.told.append(f"autocommit {'on' if value else 'off'}")

    def getinfo(self, _number):
        """Tell the product."""
        return self.server.product

    def cursor(self):
        """Make a cursor."""
        return Cursor(self.server)

    def execute(self, sql):
        """Run a statement without values."""
        return self.cursor().execute(sql)

    def commit(self):
        """Commit."""
        self.server.told.append("commit()")

    def rollback(self):
        """Roll back."""
        self.server.told.append("rollback()")

    def close(self):
        """Close."""


class Cursor:
    """Stands in for `pyodbc.Cursor`."""

    def __init__(self, server):
        self.server = server
        self._results = []
        self._rows = []
        self.description = None
        self.rowcount = -1

    def execute(self, sql, params=()):
        """Run a statement."""
        self.server.told.append((sql, *params) if params else sql)
        results = self.server.results.get(sql, [0])
        self._results = iter(results() if callable(results) else results)
        self._take(next(self._results))
        return self

    def nextset(self):
        """Go on to the next result."""
        result = next(self._results, None)
        if result is None:
            self.description = None
            return False
        self._take(result)
        return True

    def _take(self, result):
        self.description, self._rows, self.rowcount = None, [], -1
        if isinstance(result, Exception):
            raise result
        if isinstance(result, int):
            self.rowcount = result
            return
        columns, rows = result
        self.description = [(name, str, None, 9, 9, 0, True) for name in columns]
        self._rows = list(rows)

    def fetchall(self):
        """Return the rows that are left."""
        return self.fetchmany(len(self._rows))

    def fetchmany(self, size):
        """Return some of the rows."""
        if self.description is None:
            message = "No results.  Previous SQL was not a query."
            raise pyodbc.ProgrammingError(message)
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def fetchval(self):
        """Return the first value."""
        return self.fetchmany(1)[0][0]

    def close(self):
        """Close."""


def failure(state, text):
    """Return an error as pyodbc makes them."""
    return pyodbc.Error(state, f"[{state}] [Vendor][Driver]{text} (1205) (SQLExecDirectW)")
