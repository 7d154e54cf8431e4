"""Which database an SQLite URL means, and how it is set up when it is opened."""

from __future__ import annotations

import re
import sqlite3
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from aio_databases.drivers.sqlite.family import refuse_uri
from aio_databases.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aio_databases.config.url import Address

URI_PARAMETERS = frozenset({"cache", "immutable", "mode", "modeof", "nolock", "psow", "vfs"})
"""What SQLite reads in the query of a URI: https://www.sqlite.org/uri.html."""

# Reliable on a crash of the process, fast, and readers do not wait for the writer; `pragmas=` has the last word.
_PRAGMAS = {"foreign_keys": "ON", "journal_mode": "WAL", "synchronous": "NORMAL"}
_BEFORE_ANY_PAGE = frozenset({"auto_vacuum", "encoding", "page_size"})  # which switching to WAL writes
_PATIENCE = 0.25  # seconds to try for; others do not hold the file for longer when they switch it, too
_ODD_BYTES = "surrogateescape"  # of a name that is no UTF-8, as Python has them
_RETRY_EVERY = 0.005  # seconds
_IN_THE_WAY = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})


class Place(NamedTuple):
    """Where a database is: its path, percent-decoded, and what the URL says to SQLite itself."""

    path: str
    parameters: Mapping[str, str]
    is_uri: bool

    @property
    def is_in_memory(self) -> bool:
        """Whether there is no file."""
        return self.path in {"", ":memory:"} or self.parameters.get("mode") == "memory"

    @property
    def is_writable(self) -> bool:
        """Whether the URL lets the file be written."""
        is_fixed = self.parameters.get("immutable", "0").lower() not in {"0", "false", "no", "off"}
        return self.parameters.get("mode") != "ro" and not is_fixed

    def name(self, *, read_only: bool) -> tuple[str, bool]:
        """Return what SQLite calls the database, and whether that is a URI."""
        parameters = dict(self.parameters)
        if read_only and not self.is_in_memory:
            parameters["mode"] = "ro"
        # Some builds of SQLite take each name that begins so for a URI.
        if not (self.is_uri or parameters or self.path.startswith("file:")):
            return self.path or ":memory:", False
        query = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
        path = re.sub("^/+", "/", self.path or ":memory:")  # two slashes would name a host
        return f"file:{quote(path, errors=_ODD_BYTES)}{query and '?'}{query}", True


def place_of(address: Address, *, is_uri: bool) -> Place:
    """Return where the database of a URL is.  Raises ConfigurationError if the URL has a host.

    The path of a URI may begin with ``file:``, as SQLite writes it, or go without; no other path may.
    """
    if address.host is not None:
        hosts = "several hosts" if len(address.hosts) > 1 else "a host"
        message = f"the SQLite URL {address.redacted!r} has {hosts}; a relative path takes three slashes, as in "
        message += "'sqlite:///file.db', an absolute one four"
        raise ConfigurationError(message)
    if not is_uri:
        refuse_uri(address, "take it as one with '?uri=true', or leave 'file:' out")
        return Place(unquote(address.url.path, errors=_ODD_BYTES).removeprefix("/"), {}, is_uri)
    path = address.url.path.removeprefix("/")
    if path.startswith("file:"):
        path = re.sub("^//(localhost)?(?=/)", "", path.removeprefix("file:"))
        if path.startswith("//"):
            message = f"the SQLite URI in {address.redacted!r} has a host; an absolute path begins with file:/"
            raise ConfigurationError(message)
    pairs = parse_qsl(address.url.query, keep_blank_values=True)
    return Place(
        unquote(path, errors=_ODD_BYTES), {name: value for name, value in pairs if name in URI_PARAMETERS}, is_uri
    )


def set_up(db: sqlite3.Connection, pragmas: Mapping[str, Any], *, is_writable: bool) -> None:
    """Set the pragmas of a new connection; those of its user have the last word."""
    wanted = {**_PRAGMAS, **{name.strip().lower(): value for name, value in pragmas.items()}}
    for name in sorted(wanted, key=lambda name: name not in _BEFORE_ANY_PAGE):
        if name != "journal_mode":
            db.execute(f"PRAGMA {name} = {wanted[name]}")
        elif is_writable:
            _switch_journal(db, str(wanted[name]))


def _switch_journal(db: sqlite3.Connection, wanted: str) -> None:
    """Switch the file to another kind of journal; where others do not let go of it, or it cannot be written, go on.

    SQLite does not wait by itself here, and with any kind of journal a database can be used.
    """
    deadline = monotonic() + _PATIENCE
    while wanted.lower() != db.execute("PRAGMA journal_mode").fetchone()[0]:
        try:
            db.execute(f"PRAGMA journal_mode = {wanted}")
        except sqlite3.OperationalError as exc:
            code = exc.sqlite_errorcode & 0xFF
            if code != sqlite3.SQLITE_BUSY and code not in _IN_THE_WAY:
                raise
            if code in _IN_THE_WAY or monotonic() >= deadline:
                return
            sleep(_RETRY_EVERY)
        else:
            return
