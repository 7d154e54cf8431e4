"""The options of a transaction, which `Database.transaction` and its kin take."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from aio_databases.config.url import near_misses
from aio_databases.drivers.base import TransactionOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class TransactionArguments(TypedDict, total=False):
    """How a transaction begins; see `TransactionOptions`."""

    isolation: str | None
    readonly: bool | None
    deferrable: bool | None
    mode: str | None


class BlockArguments(TransactionArguments, total=False):
    """How a transaction begins, and for how many seconds its block may last."""

    timeout: float | None


def split_arguments(arguments: Mapping[str, Any]) -> tuple[TransactionOptions, float | None]:
    """Return how a transaction begins, and the seconds that its block may last.  Raises TypeError for other names."""
    options = dict(arguments)
    timeout = options.pop("timeout", None)
    if unknown := options.keys() - set(TransactionOptions._fields):
        known = {*TransactionOptions._fields, "timeout"}
        name = min(unknown)
        raise TypeError(f"a transaction has no option {name!r}{near_misses(name, known)}")
    return TransactionOptions(**options), timeout
