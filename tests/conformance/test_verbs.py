"""The verbs, in every form of call, on every driver."""

from __future__ import annotations

import pytest

from aio_databases import Record, Result, UniqueViolation

ALL = "select id, name from users order by id"
NONE = "select id, name from users where id = 0"
ROWS = [(1, "Ann"), (2, "Bob"), (3, "Cid")]
INSERT = "insert into users (id, name) values (?, ?)"
NAMED_INSERT = "insert into users (id, name) values (:id, :name)"
RETURNING = "insert into users (id, name) values (4, 'Dan'), (5, 'Eve') returning id, name"
NEW_ROWS = [(4, "Dan"), (5, "Eve")]


@pytest.fixture(params=["database", "connection"])
async def caller(users, request):
    """Give an object that has the verbs."""
    if request.param == "database":
        yield users
        return
    connection = await users.connection().acquire()
    yield connection
    await connection.release()


async def rows_on_another_connection(users):
    async with users.connection() as connection:
        return await connection.fetchall(ALL)


# execute


@pytest.mark.parametrize(
    ("statement", "rowcount"),
    [
        ("insert into users (id, name) values (4, 'Dan')", 1),
        ("insert into users (id, name) values (4, 'Dan'), (5, 'Eve')", 2),
        ("insert into users (id, name) select id + 10, name from users", 3),
        (RETURNING, 2),
        ("update users set name = 'x'", 3),
        ("update users set name = 'x' where id = 0", 0),
        ("delete from users where id > 1", 2),
        ("delete from users where id > 1 returning name", 2),
    ],
)
async def test_execute_tells_how_many_rows_it_changed(users, statement, rowcount):
    assert rowcount == (await users.execute(statement)).rowcount


@pytest.mark.needs("counts_behind_with")
async def test_execute_tells_how_many_rows_it_changed_behind_with(users):
    statement = "with old (id) as (select 1) delete from users where id in (select id from old)"
    assert (await users.execute(statement)).rowcount == 1


@pytest.mark.parametrize("statement", ["create table others (id integer)", "drop table users"])
async def test_execute_changes_no_rows_of_tables_that_come_or_go(users, statement):
    assert (await users.execute(statement)).rowcount in {-1, 0}


async def test_execute_tells_the_id_of_the_inserted_row_where_the_driver_knows_it(db, words):
    await db.execute(f"create table counted (id {words.types['counted']}, x integer)")
    for number in (1, 2):
        result = await db.execute("insert into counted (x) values (?)", 5)
        assert (number if db.backend.capabilities.lastrowid else None) == result.lastrowid
    assert await db.fetchall("select id from counted order by id", into=int) == [1, 2]


async def test_a_result_is_a_pair_with_names(caller):
    result = await caller.execute("update users set name = 'x' where id < 3")
    rowcount, lastrowid = result
    assert isinstance(result, Result)
    assert (2, lastrowid) == result == (result.rowcount, result.lastrowid)
    assert rowcount == 2


async def test_execute_runs_a_query_and_leaves_its_rows(caller):
    assert isinstance(await caller.execute(ALL), Result)
    assert await caller.fetchall(ALL) == ROWS


async def test_execute_outside_a_transaction_commits(users):
    await users.execute(INSERT, 4, "Dan")
    assert [*ROWS, (4, "Dan")] == await rows_on_another_connection(users)


# executemany


@pytest.mark.parametrize(
    "make_rows",
    [
        lambda: [NEW_ROWS],
        lambda: NEW_ROWS,
        lambda: [list(map(list, NEW_ROWS))],
        lambda: list(map(list, NEW_ROWS)),
        lambda: [iter(NEW_ROWS)],
        lambda: [(row for row in NEW_ROWS)],
        lambda: [dict(NEW_ROWS).items()],
    ],
    ids=["list", "arguments", "list of lists", "lists", "iterator", "generator", "view"],
)
async def test_executemany_takes_rows_in_every_form(users, make_rows):
    await users.executemany(INSERT, *make_rows())
    assert await users.fetchall(ALL) == [*ROWS, *NEW_ROWS]


@pytest.mark.parametrize("as_list", [True, False])
async def test_executemany_takes_mappings(users, as_list):
    rows = [{"id": number, "name": name} for number, name in NEW_ROWS]
    await users.executemany(NAMED_INSERT, *([rows] if as_list else rows))
    assert await users.fetchall(ALL) == [*ROWS, *NEW_ROWS]


async def test_executemany_takes_records(users):
    await users.execute("create table copies (id integer, name text)")
    await users.executemany("insert into copies (id, name) values (?, ?)", await users.fetchall(ALL))
    assert await users.fetchall("select id, name from copies order by id") == ROWS


@pytest.mark.parametrize("rows", [(4, 5), ([(4,), (5,)],), ((4,), (5,))])
async def test_executemany_takes_bare_values_for_one_placeholder(users, rows):
    await users.executemany("insert into users (id) values (?)", *rows)
    assert await users.fetchall("select id from users where name is null order by id", into=int) == [4, 5]


@pytest.mark.parametrize("row", [(4, "Dan"), [4, "Dan"]])
async def test_executemany_takes_one_row(users, row):
    await users.executemany(INSERT, row)
    assert [*ROWS, (4, "Dan")] == await users.fetchall(ALL)


@pytest.mark.parametrize("rows", [(), ([],), (iter(()),)])
async def test_executemany_without_rows_changes_nothing(users, rows):
    await users.executemany(INSERT, *rows)
    assert await users.fetchall(ALL) == ROWS


async def test_executemany_tells_how_many_rows_it_changed_or_that_it_does_not_know(users):
    assert (await users.executemany(INSERT, NEW_ROWS)).rowcount in {2, -1}


async def test_executemany_writes_all_rows_or_none(users):
    with pytest.raises(UniqueViolation):
        await users.executemany(INSERT, (4, "Dan"), (5, "Eve"), (1, "twice"))
    assert await rows_on_another_connection(users) == ROWS


async def test_executemany_in_a_transaction_is_rolled_back_with_it(users):
    async with users.transaction() as transaction:
        await users.executemany(INSERT, NEW_ROWS)
        assert len(await users.fetchall(ALL)) == 5
        await transaction.rollback()
    assert await users.fetchall(ALL) == ROWS


async def test_executemany_that_fails_in_a_nested_transaction_spares_the_outer_one(users):
    async with users.transaction():
        await users.execute(INSERT, 4, "Dan")
        with pytest.raises(UniqueViolation):
            async with users.transaction():
                await users.executemany(INSERT, (5, "Eve"), (1, "twice"))
    assert [*ROWS, (4, "Dan")] == await users.fetchall(ALL)


# fetch


async def test_fetchall_returns_all_rows(caller):
    rows = await caller.fetchall(ALL)
    assert isinstance(rows, list)
    assert rows == ROWS
    assert all(isinstance(row, Record) for row in rows)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 99])
async def test_fetchmany_returns_the_first_rows(users, size):
    assert ROWS[:size] == await users.fetchmany(size, ALL)


async def test_fetchmany_takes_parameters(caller):
    assert await caller.fetchmany(1, "select id, name from users where id > ? order by id", 1) == [(2, "Bob")]


async def test_fetchone_returns_the_first_row(caller):
    assert await caller.fetchone(ALL) == (1, "Ann")


async def test_fetchval_returns_a_column_by_number_or_name(caller):
    for column, expected in ((0, 1), (1, "Ann"), (-1, "Ann"), ("id", 1), ("name", "Ann")):
        assert await caller.fetchval(ALL, column=column) == expected


async def test_fetchval_returns_the_first_column_by_default(caller):
    assert await caller.fetchval("select id, name from users where id = :id", {"id": 2}) == 2


@pytest.mark.parametrize(("column", "error"), [("nope", KeyError), (2, IndexError), (-3, IndexError)])
async def test_fetchval_of_a_column_that_is_not_there_is_an_error(users, column, error):
    with pytest.raises(error):
        await users.fetchval(ALL, column=column)


async def test_fetchval_returns_none_for_null(users):
    assert await users.fetchval("select cast(null as integer)") is None


async def test_nothing_found_is_an_empty_list_or_none(caller):
    assert await caller.fetchall(NONE) == []
    assert await caller.fetchmany(5, NONE) == []
    assert await caller.fetchone(NONE) is None
    assert await caller.fetchval(NONE) is None
    assert await caller.fetchval(NONE, column="name") is None
    assert [row async for row in caller.iterate(NONE)] == []


@pytest.mark.parametrize(
    "fetch",
    [
        lambda caller, query: caller.fetchall(query),
        lambda caller, query: caller.fetchmany(5, query),
        lambda caller, query: caller.fetchone(query),
        lambda caller, query: caller.fetchval(query),
    ],
    ids=["fetchall", "fetchmany", "fetchone", "fetchval"],
)
@pytest.mark.parametrize("statement", ["update users set name = 'x' where id = 1", "create table others (id integer)"])
async def test_a_statement_without_result_fetches_nothing(users, fetch, statement):
    assert not await fetch(users, statement)


async def rows_of_stream(caller, query):
    return [row async for row in caller.iterate(query)]


@pytest.mark.needs("returning")
@pytest.mark.parametrize(
    ("fetch", "expected"),
    [
        (lambda caller, query: caller.fetchall(query), NEW_ROWS),
        (lambda caller, query: caller.fetchmany(1, query), NEW_ROWS[:1]),
        (lambda caller, query: caller.fetchmany(9, query), NEW_ROWS),
        (lambda caller, query: caller.fetchone(query), NEW_ROWS[0]),
        (lambda caller, query: caller.fetchval(query), 4),
        (rows_of_stream, NEW_ROWS),
    ],
    ids=["fetchall", "fetchmany", "fetchmany more", "fetchone", "fetchval", "iterate"],
)
async def test_insert_returning_inserts_all_rows_and_commits(users, fetch, expected):
    assert await fetch(users, RETURNING) == expected
    assert await rows_on_another_connection(users) == [*ROWS, *NEW_ROWS]


@pytest.mark.parametrize("verb", ["execute", "executemany", "fetchall", "fetchone", "fetchval"])
async def test_every_verb_takes_an_object_whose_str_is_sql(users, verb):
    class Query:
        def __str__(self):
            return "update users set name = 'x' where id = ?"

    await getattr(users, verb)(Query(), *([(1,)] if verb == "executemany" else [1]))
    assert await users.fetchval("select name from users where id = 1") == "x"
