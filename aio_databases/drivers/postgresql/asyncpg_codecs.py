"""Types that asyncpg is to read and write in another way than by itself, alone and within arrays and composite values.

Each codec speaks PostgreSQL's binary format: asyncpg has no composite values with a part that comes as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, SafeUUID

if TYPE_CHECKING:
    from collections.abc import Callable


async def read_json(raw: Any, dumps: Callable[[Any], str | bytes], loads: Callable[[str], Any]) -> None:
    """Have ``json`` and ``jsonb`` come and go as what ``loads`` makes of their text, and ``dumps`` makes text of."""
    for name, head in (("json", b""), ("jsonb", _VERSION)):
        encoder, decoder = _encoder(head, dumps), _decoder(len(head), loads)
        await raw.set_type_codec(name, encoder=encoder, decoder=decoder, schema="pg_catalog", format="binary")


async def read_uuids(raw: Any) -> None:
    """Have ``uuid`` come as Python's own class, as libraries such as orjson want it; asyncpg has one of its own."""
    await raw.set_type_codec("uuid", encoder=_bytes, decoder=_uuid, schema="pg_catalog", format="binary")


_VERSION = b"\x01"  # of the format of jsonb


def _encoder(head: bytes, dumps: Callable[[Any], str | bytes]) -> Callable[[Any], bytes]:
    def encode(value: Any) -> bytes:
        text = dumps(value)
        return head + (text.encode() if isinstance(text, str) else text)

    return encode


def _decoder(length: int, loads: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda data: loads(data[length:].decode())


def _bytes(value: Any) -> bytes:
    return (value if isinstance(value, UUID) else UUID(value)).bytes


def _uuid(data: bytes) -> UUID:
    # As pickle makes one: without the checks of the class, which take longer than all the rest.
    found = _new(UUID)
    _set(found, "int", int.from_bytes(data))
    _set(found, "is_safe", _UNKNOWN)
    return found


_new, _set, _UNKNOWN = object.__new__, object.__setattr__, SafeUUID.unknown
