"""An error reports the class, the place and the row: as attributes that a program can use, and never a value."""

from __future__ import annotations

import logging
import traceback

import pytest
import sqlalchemy as sa

from aio_databases import DataError, Error, ForeignKeyViolation, NotNullViolation, ProgrammingError, UniqueViolation
from aio_databases.errors import ConnectionLost, Diagnosis, note_row, translate

SECRET = "hunter2"

BATCH = "insert into authors (id, name) values (?, ?)"


async def test_repr_traceback_and_log_show_the_class_of_this_library(shop, caplog):
    """See encode/databases#414 and the like: `OperationalError('no such table')` sends readers to the wrong page."""
    with pytest.raises(UniqueViolation) as caught:
        await shop.execute("insert into authors (id, name) values (7, 'Ann')")
    error = caught.value
    assert repr(error) == f"UniqueViolation({str(error)!r})"
    logging.getLogger("tests").error("failed", exc_info=error)
    assert "aio_databases.UniqueViolation: " in caplog.text
    assert any("aio_databases.UniqueViolation: " in line for line in traceback.format_exception(error))


async def test_an_error_has_the_statement_without_the_values(shop, target):
    """Hostile test: an error tracker wants the SQL, and must not get what users have entered."""
    statement = "insert into authors (id, name) values (:id, :name)"
    for failing in (
        shop.execute(statement, {"id": 1, "name": SECRET}),
        shop.executemany(statement, [{"id": 1, "name": SECRET}]),
        shop.fetchall("select nothing from authors where name = :name", {"name": SECRET}),
        anext(shop.iterate("select nothing from authors where name = :name", {"name": SECRET})),
    ):
        with pytest.raises(Error) as caught:
            await failing
        assert caught.value.statement
        assert "authors" in caught.value.statement
        assert SECRET not in caught.value.statement
    del target


async def test_a_value_that_cannot_be_sent_has_its_row_as_a_number(shop):
    """Hostile test: `error.parameter` was the text `2 of row 5124`, which no program could use."""
    rows = [(number, f"{number}") for number in range(10, 60)]
    rows[33] = (43, {SECRET})
    with pytest.raises(DataError) as caught:
        await shop.executemany(BATCH, rows)
    assert (caught.value.row, caught.value.parameter) == (34, "2")
    assert SECRET not in str(caught.value)
    assert await shop.fetchval("select count(*) from authors") == 1


async def test_a_row_that_the_database_refuses_has_its_number_where_rows_are_run_one_by_one(shop, target):
    """Hostile test: constraint errors of a batch never said which row it was."""
    rows = [(number, f"{number}") for number in range(10, 60)]
    rows[33] = (43, "Ann")
    with pytest.raises(UniqueViolation) as caught:
        await shop.executemany(BATCH, rows)
    counted = target.odbc or target.dialect == "sqlite"
    assert caught.value.row == (34 if counted else None)
    assert await shop.fetchval("select count(*) from authors") == 1


async def test_the_only_row_is_the_one_that_the_database_refuses(shop):
    """Hostile test: on PostgreSQL it had no number, nor had it on a server's answer to any batch."""
    for connection in (shop.connection(), shop.transaction()):
        with pytest.raises(UniqueViolation) as caught:
            async with connection:
                await shop.executemany(BATCH, [(43, "Ann")])
        assert caught.value.row == 1


@pytest.mark.targets(scheme="psycopg")
async def test_psycopg_tells_the_row_where_libpq_has_no_pipeline(shop, monkeypatch):
    monkeypatch.setattr("psycopg._pipeline_base.BasePipeline.is_supported", lambda: False)
    rows = [(number, f"{number}") for number in range(10, 60)]
    rows[33] = (43, "Ann")
    for connection in (shop.connection(), shop.transaction()):
        with pytest.raises(UniqueViolation) as caught:
            async with connection:
                await shop.executemany(BATCH, rows)
        assert caught.value.row == 34
    assert await shop.fetchval("select count(*) from authors") == 1


@pytest.mark.targets(scheme="aiopg")
@pytest.mark.parametrize("wrong", [0, 1, 33, 999, 1000, 1033, 2000])
async def test_aiopg_tells_the_row_where_the_server_tells_the_place(shop, wrong):
    """A thousand statements are sent at a time; the server points at a value that it cannot read."""
    rows = [(f"{number}", f"\u20ac\n; {number}") for number in range(10, 2011)]
    rows[wrong] = (SECRET, "\u20ac\n;")
    for connection in (shop.connection(), shop.transaction()):
        with pytest.raises(DataError) as caught:
            async with connection:
                await shop.executemany(f"{BATCH} -- end", rows)
        assert caught.value.row == wrong + 1
    assert await shop.fetchval("select count(*) from authors") == 1


@pytest.mark.targets(scheme="aiopg")
async def test_aiopg_tells_the_row_that_is_sent_alone(shop):
    rows = [(number, f"{number}") for number in range(10, 1011)]
    rows[1000] = (9, "Ann")
    with pytest.raises(UniqueViolation) as caught:
        await shop.executemany(BATCH, rows)
    assert caught.value.row == 1001


def test_a_link_that_breaks_is_about_no_row():
    exc = OSError("broken")
    note_row(exc, 5)
    error = translate(exc, Diagnosis(ConnectionLost))
    assert isinstance(error, ConnectionLost)
    assert error.row is None


COLUMNS = (
    ("insert into authors (id, name) values (7, 'Ann')", UniqueViolation, ("name",), {"sqlite", "postgresql"}),
    (
        "insert into books (id, shelf, place) values (2, 1, 1)",
        UniqueViolation,
        ("shelf", "place"),
        {"sqlite", "postgresql"},
    ),
    ("insert into authors (id) values (2)", NotNullViolation, ("name",), {"sqlite", "postgresql", "mysql"}),
    ("insert into books (id, author) values (2, 9)", ForeignKeyViolation, ("author",), {"postgresql", "mysql"}),
    ("delete from authors", ForeignKeyViolation, ("author",), {"mysql"}),
)


async def test_a_violated_constraint_names_its_columns_where_the_server_does(shop, target):
    """Hostile test: no portable text for a 409 could be made; PostgreSQL's DETAIL names the columns of a key."""
    for statement, kind, columns, dialects in COLUMNS:
        with pytest.raises(kind) as caught:
            await shop.execute(statement)
        error = caught.value
        known = columns if target.dialect in dialects else ()
        assert error.columns in ({known, ()} if target.odbc else {known}), statement
        assert error.column == (error.columns[0] if len(error.columns) == 1 else None), statement
        if error.columns and target.dialect != "mysql" and not target.odbc:
            assert error.table in {"authors", "books"}, statement


@pytest.mark.targets(scheme={"sqlite", "aiosqlite"}, loop={"asyncio"})
async def test_an_error_that_comes_before_the_rows_has_no_row(shop):
    """Hostile test: the row was 0."""
    with pytest.raises(Error) as caught:
        await shop.executemany(f"{BATCH}; select 1", [(5, "a"), (6, "b")])
    assert caught.value.row is None


INTO_AUTHORS = "insert into authors (id, name) values"
SHORT_ROWS = {
    f"{INTO_AUTHORS} (?, ?)": [(5, "a"), (6, "b"), (7,)],
    f"{INTO_AUTHORS} (%s, %s)": [(5, "a"), (6, "b"), (7, "c", SECRET)],
    f"{INTO_AUTHORS} ($1, $2)": [(5, "a"), (6, "b"), SECRET],
    f"{INTO_AUTHORS} (:id, :name)": [{"id": 5, "name": "a"}, {"id": 6, "name": "b"}, {"id": 7}],
    f"{INTO_AUTHORS} (%(id)s, %(name)s)": [{"id": 5, "name": "a"}, {"id": 6, "name": "b"}, {"id": 7, "nam": SECRET}],
    f"{INTO_AUTHORS} (:id, :name) ": [{"id": 5, "name": "a"}, {"id": 6, "name": "b"}, (7, SECRET)],
}


async def test_a_row_that_does_not_match_the_placeholders_has_its_number(shop):
    """Hostile test: the text began with "Row 3", and `error.row` was None."""
    for statement, rows in SHORT_ROWS.items():
        for given in (rows, iter(rows)):
            with pytest.raises(ProgrammingError) as caught:
                await shop.executemany(statement, given)
            assert caught.value.row == 3, statement
            assert str(caught.value).startswith("row 3: "), statement
            assert SECRET not in str(caught.value)
    assert await shop.fetchval("select count(*) from authors") == 1


@pytest.mark.targets(scheme={"sqlite", "aiosqlite"}, loop={"asyncio"})
async def test_a_row_that_does_not_match_the_placeholders_of_sqlite_alone_has_its_number(shop):
    for statement, rows in (
        (f"{INTO_AUTHORS} (?1, ?2)", [(5, "a"), (6, "b"), (7,)]),
        (f"{INTO_AUTHORS} (@id, $name)", [{"id": 5, "name": "a"}, {"id": 6, "name": "b"}, {"id": 7}]),
    ):
        with pytest.raises(ProgrammingError) as caught:
            await shop.executemany(statement, rows)
        assert caught.value.row == 3, statement
    assert await shop.fetchval("select count(*) from authors") == 1


@pytest.mark.targets(scheme={"sqlite"}, loop={"asyncio"})
async def test_a_row_that_a_statement_of_sqlalchemy_does_not_take_has_its_number(shop):
    authors = sa.table("authors", sa.column("id"), sa.column("name"))
    for statement, rows in (
        (authors.insert(), [{"id": 5, "name": "a"}, {"id": 6, "name": "b"}, {"id": 7, "nam": SECRET}]),
        (sa.text(f"{INTO_AUTHORS} (:id, :name)"), [{"id": 5, "name": "a"}, {"id": 6, "name": "b"}, {"id": 7}]),
    ):
        with pytest.raises(ProgrammingError, match="row 3: ") as caught:
            await shop.executemany(statement, rows)
        assert caught.value.row == 3
        assert SECRET not in str(caught.value)
