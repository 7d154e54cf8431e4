"""`into=` makes a number of a text that is one to databases, not of one that only Python reads as a number."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import pytest

from aio_databases import DataError


@dataclass
class Price:
    """A field that is converted as the scalar is."""

    price: Decimal


@pytest.mark.targets(pooled=True)
@pytest.mark.parametrize("text", ["1_0", "\uff11", "1\u00a0", "0x10"])
async def test_it_is_refused_by_every_verb(db, words, text):
    """Hostile test: "1_0" became 10."""
    query = f"select {words.text_of.format(':text')} as price"
    for into in (int, float, Decimal, Price):
        for read in (
            db.fetchall(query, {"text": text}, into=into),
            db.fetchmany(2, query, {"text": text}, into=into),
            db.fetchone(query, {"text": text}, into=into),
            anext(db.iterate(query, {"text": text}, into=into)),
        ):
            with pytest.raises(DataError, match="refuses") as caught:
                await read
            assert text not in str(caught.value)
    for into, expected in ((int, 7), (float, 7.0), (Decimal, Decimal(7)), (Price, Price(Decimal(7)))):
        assert await db.fetchone(query, {"text": " 7 "}, into=into) == expected


@pytest.mark.targets(scheme="sqlite", loop="asyncio", pooled=True, memory=True)
async def test_the_digits_of_a_uuid_are_those_of_a_uuid(db):
    for text in ("1234567812345678_123456781234567", "1234567812345678\uff11123456781234567"):
        with pytest.raises(DataError, match="UUID refuses"):
            await db.fetchone("select ?", text, into=UUID)
