"""ODBC: every result is read, transactions are in the words of the server, and its own keywords go to it.

By reading, on a stand-in: `exec p` and `insert ...; select ...` returned nothing; SQL Server was told SAVEPOINT and
RELEASE, Oracle and Db2 were asked `SELECT 1`; an Enum went unconverted; `TrustServerCertificate=yes` in a URL and
`mssql+pyodbc://` were refused.
"""

from __future__ import annotations

from enum import Enum

import pytest

from aio_databases import (
    ConfigurationError,
    Database,
    DataError,
    NotSupportedError,
    SerializationFailure,
    TransactionError,
    UnknownDriver,
)
from loops import backend
from servers.odbc import load_libraries

load_libraries()
pyodbc = pytest.importorskip("pyodbc", exc_type=ImportError)

from reports.odbc_stand_in import Server, failure  # noqa: E402 - after what it imports was found

LOOPS = [("pyodbc", "asyncio"), ("pyodbc", "uvloop"), ("pyodbc", "trio"), ("aioodbc", "asyncio")]
ROWS = (("a",), [(1,), (2,)])
WORDS = {
    "Microsoft SQL Server": ("SAVE TRANSACTION {}", "ROLLBACK TRANSACTION {}", None, "SELECT 1"),
    "Oracle": ("SAVEPOINT {}", "ROLLBACK TO SAVEPOINT {}", None, "SELECT 1 FROM DUAL"),
    "DB2/LINUXX8664": (
        "SAVEPOINT {} ON ROLLBACK RETAIN CURSORS",
        "ROLLBACK TO SAVEPOINT {}",
        "RELEASE SAVEPOINT {}",
        "SELECT 1 FROM SYSIBM.SYSDUMMY1",
    ),
}


@pytest.fixture(params=LOOPS, ids="-".join)
def scheme(request):
    """Give the scheme, on each loop that its driver runs on."""
    return request.param[0]


@pytest.fixture
def anyio_backend(request):
    """Run on the event loop of the scheme, else on asyncio."""
    loops = [each[1] for each in LOOPS if each in request.node.callspec.params.values()]
    return backend(loops[0] if loops else "asyncio")


@pytest.fixture
def connected(scheme, monkeypatch):
    """Give a function that returns a database on a server that stands in."""

    def connect(product, results=None, url="{}://app:secret@db/shop?driver=Any", **options):
        server = Server(product, results)
        monkeypatch.setattr("pyodbc.connect", server.connect)
        return server, Database(url.format(scheme), **options)

    return connect


# Results


@pytest.mark.parametrize("product", [*WORDS, "Firebird"])
@pytest.mark.parametrize("results", [[ROWS], [3, ROWS], [0, 2, ROWS, 5, (("b",), [(7,)])]])
async def test_the_first_result_with_rows_is_read(connected, product, results):
    server, db = connected(product, {"exec p": results})
    async with db:
        assert await db.fetchall("exec p") == [(1,), (2,)]
        assert await db.fetchmany(1, "exec p") == [(1,)]
        assert await db.fetchone("exec p") == (1,)
        assert await db.fetchval("exec p") == 1
        assert [row async for row in db.iterate("exec p")] == [(1,), (2,)]
        assert [row async for row in db.iterate("exec p", chunk_size=1)] == [(1,), (2,)]
        first = results[0] if isinstance(results[0], int) else -1
        assert first == (await db.execute("exec p")).rowcount
        assert await db.fetchall("update t") == []
    assert server.told.count("exec p") == 7


@pytest.mark.parametrize("results", [[ROWS, 3], [ROWS, ROWS], [3, ROWS, 3], [3]])
async def test_an_error_of_a_later_result_is_raised(connected, results):
    _, db = connected("Microsoft SQL Server", {"exec p": [*results, failure("23000", "duplicate key")]})
    async with db:
        for call in (
            lambda: db.fetchall("exec p"),
            lambda: db.fetchmany(1, "exec p"),
            lambda: db.fetchone("exec p"),
            lambda: db.fetchval("exec p"),
            lambda: db.execute("exec p"),
            lambda: db.executemany("exec p", [()]),
        ):
            with pytest.raises(pyodbc.Error, match="duplicate key"):
                await call()
        with pytest.raises(pyodbc.Error, match="duplicate key"):
            async for _ in db.iterate("exec p"):
                pass


# Transactions


@pytest.mark.parametrize("product", WORDS)
async def test_transactions_are_in_the_words_of_the_server(connected, product):
    save, back, release, question = WORDS[product]
    server, db = connected(product, check_after=0)
    async with db:
        await db.execute("update t set a = 1")
        server.told.clear()
        await db.execute("update t set a = 2")
        assert [question, "update t set a = 2"] == server.told
        server.told.clear()
        async with db.transaction():
            async with db.transaction():
                await db.execute("update kept")
            inner = await db.transaction().start()
            await db.execute("update lost")
            await inner.rollback()
    told = [each for each in server.told if each != question]
    saved = [each.split()[len(save.split("{}")[0].split())] for each in told if each.startswith(save.split("{}")[0])]
    assert len(saved) == 2
    releases = [[release.format(name)] if release else [] for name in saved]
    assert [
        "autocommit off",
        *(save.format(saved[0]), "update kept", *releases[0]),
        *(save.format(saved[1]), "update lost", back.format(saved[1]), *releases[1]),
        *("commit()", "autocommit on"),
    ] == told


@pytest.mark.parametrize("product", WORDS)
async def test_a_batch_that_fails_in_a_transaction_takes_its_rows_back(connected, product):
    save, back, release, _ = WORDS[product]
    server, db = connected(product, {"bad": [failure("22001", "too long")]})
    async with db, db.transaction():
        server.told.clear()
        with pytest.raises(DataError):
            await db.executemany("bad", [()])
        undone = [back, release] if release else [back]
        assert [save.format("aiodb_many"), "bad", *(each.format("aiodb_many") for each in undone)] == server.told


@pytest.mark.parametrize(
    ("product", "options", "begins", "ends"),
    [
        (
            "Microsoft SQL Server",
            {"isolation": "snapshot"},
            ["SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "autocommit off"],
            ["commit()", "autocommit on", "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"],
        ),
        (
            "Oracle",
            {"isolation": "serializable"},
            ["autocommit off", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
            ["commit()", "autocommit on"],
        ),
        (
            "Oracle",
            {"readonly": True},
            ["autocommit off", "SET TRANSACTION READ ONLY"],
            ["commit()", "autocommit on"],
        ),
        (
            "DB2/LINUXX8664",
            {"isolation": "repeatable read"},
            ["SET CURRENT ISOLATION = RS", "autocommit off"],
            ["commit()", "autocommit on", "SET CURRENT ISOLATION = RESET"],
        ),
    ],
)
async def test_options_of_a_transaction_are_in_the_words_of_the_server(connected, product, options, begins, ends):
    server, db = connected(product)
    async with db:
        server.told.clear()
        async with db.transaction(**options):
            await db.fetchval("select 1 from dual")
    assert [*begins, "select 1 from dual", *ends] == server.told


@pytest.mark.parametrize(
    ("product", "options"),
    [
        ("Microsoft SQL Server", {"readonly": True}),
        ("DB2", {"readonly": True}),
        ("Oracle", {"isolation": "repeatable read"}),
        ("Oracle", {"isolation": "serializable", "readonly": True}),
        ("Firebird", {"isolation": "serializable"}),
        ("Firebird", {"readonly": True}),
    ],
)
async def test_what_a_server_cannot_do_is_refused(connected, product, options):
    _, db = connected(product)
    async with db:
        with pytest.raises(NotSupportedError):
            async with db.transaction(**options):
                pass
        assert (await db.execute("one")).rowcount == 0


async def test_of_an_unknown_server_no_words_are_made_up(connected):
    server, db = connected("Firebird", {"SELECT 1": lambda: [failure("42000", "syntax error")]}, check_after=0)
    async with db:
        await db.execute("update t set a = 1")
        await db.execute("update t set a = 2")
        assert db.stats()["primary"].opened == 1  # the server has answered
        async with db.transaction():
            with pytest.raises(NotSupportedError, match="name that by db_type="):
                async with db.transaction():
                    pass
            await db.execute("update t set a = 3")
    assert server.told[-3:] == ["update t set a = 3", "commit()", "autocommit on"]
    assert not any("SAVE" in str(each) for each in server.told)


async def test_a_transaction_that_the_server_has_ended_is_over(connected):
    server, db = connected("Microsoft SQL Server", {"bad": lambda: [failure("40001", "deadlock victim")]})
    async with db:
        with pytest.raises(TransactionError):
            async with db.transaction():
                with pytest.raises(SerializationFailure):
                    await db.execute("bad")
                await db.execute("must not run in a transaction of its own")
    assert "must not run in a transaction of its own" not in server.told
    assert "commit()" not in server.told


# Values, keywords, schemes


class Color(Enum):
    """A number at the database."""

    RED = 1


async def test_an_enum_is_sent_as_its_value(connected):
    server, db = connected("Microsoft SQL Server")
    async with db:
        await db.execute("insert into t values (?, ?)", Color.RED, memoryview(b"x"))
        await db.executemany("insert into t values (?)", Color.RED, 2)
        with pytest.raises(DataError, match="NUL"):
            await db.execute("insert into t values (?)", "a\0b")
    sent = [each for each in server.told if isinstance(each, tuple)]
    assert sent == [
        ("insert into t values (?, ?)", 1, b"x"),
        ("insert into t values (?)", 1),
        ("insert into t values (?)", 2),
    ]


@pytest.mark.parametrize("spelled", ["{}", "mssql+{}", "odbc+{}"])
async def test_keywords_of_the_odbc_driver_stand_in_the_url(connected, spelled):
    url = f"{spelled}://app:secret@db:1433/shop?driver=ODBC+Driver+18+for+SQL+Server"
    url += "&TrustServerCertificate=yes&Encrypt=a%3BUID%3Dsa&MARS_Connection=%7Byes&max_size=3"
    server, db = connected("Microsoft SQL Server", url=url)
    async with db:
        await db.execute("one")
    assert db.backend.db_type == "mssql"
    said = "Driver={ODBC Driver 18 for SQL Server};Server=db,1433;Database=shop;UID=app;"
    said += "TrustServerCertificate=yes;Encrypt={a;UID=sa};MARS_Connection={{yes};PWD=secret"
    assert {said} == set(server.texts)


async def test_the_scheme_says_what_the_name_of_the_odbc_driver_does_not(connected):
    server, db = connected("what it likes", url="mssql+{}://app@db/shop?driver=FreeTDS")
    async with db, db.transaction(), db.transaction():
        pass
    assert any(str(each).startswith("SAVE TRANSACTION ") for each in server.told)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("Server=elsewhere", "says Server, which .* say it once"),
        ("PWD=other", "says PWD"),
        ("A%3BPWD%3Dx=1", "cannot be a keyword"),
        ("A%7D=1", "cannot be a keyword"),
        ("Encrypt=a%00b", "NUL"),
        ("trustservercertificate=yes", "unknown option"),
    ],
)
async def test_what_cannot_be_a_keyword_is_refused(connected, query, reason):
    with pytest.raises(ConfigurationError, match=reason):
        await connected("Any", url=f"{{}}://app:secret@db/shop?driver=Any&{query}")[1].connect()


@pytest.mark.parametrize("driver", ["{a};Server=evil;{b}", "a};Server=evil", "a;Server=evil"])
async def test_the_name_of_the_odbc_driver_says_nothing_else(connected, driver):
    server, db = connected("Microsoft SQL Server", url="{}://app@db/shop", driver=driver, db_type="mssql")
    async with db:
        await db.execute("one")
    assert server.texts[0].startswith("Driver={" + driver.replace("}", "}}") + "};Server=db;")


def test_a_scheme_of_another_database_is_still_refused(scheme):
    with pytest.raises(UnknownDriver, match="is for odbc, not for informix"):
        Database(f"informix+{scheme}://db/shop?driver=Any")
