"""Ask a server how far it is in the history of its database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aio_databases.dialects import dialect_named
from aio_databases.dialects.positions import Position
from aio_databases.errors import NotSupportedError, ProgrammingError, TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_databases.dialects.positions import PositionQuestion
    from aio_databases.drivers.base import Driver

_START = Position("0/0", {"": 0})
_understood: WeakKeyDictionary[Driver, PositionQuestion] = WeakKeyDictionary()  # by the servers of a driver


async def ask_position(driver: Driver, fetch: Callable[[str], Awaitable[Any]], *, primary: bool = False) -> Position:
    """Return how far the server is that ``fetch`` asks; of a ``primary`` that is all it has committed.

    ``fetch`` returns the single value of a query.  Raises TargetNotFound if a primary was to be asked and the server is
    a replica, and NotSupportedError if the database does not report its position.
    """
    dialect = dialect_named(driver.dialect)
    if dialect.is_one_place:
        return _START  # every connection sees all of it
    known = _understood.get(driver)
    for question in (known,) if known is not None else dialect.position_questions:
        try:
            answer = await fetch(question.primary if primary else question.replica)
        except ProgrammingError as exc:
            if question.may_be_unknown:
                continue
            raise NotSupportedError(f"{driver.address} does not report its position: {exc}{question.grant}") from exc
        _understood[driver] = question
        if answer is None and primary:
            raise TargetNotFound(
                f"{driver.address} leads to a replica, and not to the primary: check the URL, or its target"
            )
        if answer and (position := question.parse(answer, primary=primary)):
            return position
        break
    raise NotSupportedError(
        f"{driver.address} does not report its position: PostgreSQL does, Galera, and MariaDB and MySQL that have "
        "a binary log with GTIDs"
    )
