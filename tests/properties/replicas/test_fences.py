"""Whatever reads are made of, they are not taken for writes; and however writes are wrapped, they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aio_databases.sql.translator import Translator

DIALECTS = ("sqlite", "postgresql", "mysql", "odbc")

# What would be a write if it stood in the statement itself.
FORBIDDEN = st.sampled_from(
    [
        "; delete from t ;",
        "update t set a = 1",
        "into u",
        "for update",
        "nextval ( 1 )",
        "set_config ( a )",
        "set tx_read_only = 0",
        "commit; begin read write",
        "pragma query_only = off",
        "with x as (delete from t returning 1)",
        "drop table t",
    ]
)
LITERALS = {
    "sqlite": ["'{}'", '"{}"', "`{}`", "[{}]", "''''", "'''{}'", "-- {}\n 1", "/* {} */ 1", "/* '*/ 1 /*' {} */"],
    "postgresql": [
        *("'{}'", '"{}"', "''''", "'''{}'", "-- {}\n 1", "-- '\r 1", "/* {} */ 1", "/* /* {} */ {} */ 1", "$${}$$"),
        *("$a$ $$ {} $a$", "E'{}'", "E'\\'{}'", "E'a'\n'\\'{}'", "E'a' -- '\n 'b\\' {}'", "N'{}'", "U&'{}'"),
    ],
    "mysql": [
        *("'{}'", '"{}"', "`{}`", "''''", "'''{}'", "-- {}\n 1", "# {}\n 1", "/* {} */ 1", "/*! 1, */ 2"),
        *('"it\'s {}"', "'\\\\'", "'it\\'s' '{}'"),
    ],
    "odbc": ["'{}'", '"{}"', "''''", "'''{}'", "-- {}\n 1", "/* {} */ 1"],
}
NAMES = ("a", "t.b", "updated", "deleted_at", "into_x", "last_updated()", "count(*)", "12", "1.5e3", "?", "-a", "null")
SHAPES = (
    "select {}, {} from t where {} = {}",
    "select case when {} then {} else {} end from t order by {}",
    "with x as (select {}), y as (select {} from x) select {}, row_number() over (partition by {}) from y",
    "(select {} from t where a in ({}, {})) union all (select {})",
    "select coalesce({}, {}), (select max(b) from t where c = {}) as {}",
    "select * from (select {} as a, {} as b) s join u on s.a = {} where exists (select 1 from u where b <> {})",
    "explain select {}, {}, {}, {} from t",
)


@st.composite
def expressions(draw, dialect):
    """Make something that has one value, however it looks."""
    if draw(st.booleans()):
        return draw(st.sampled_from(NAMES))
    shape = draw(st.sampled_from(LITERALS[dialect]))
    return shape.format(*(draw(FORBIDDEN) for _ in range(shape.count("{}"))))


@st.composite
def reads(draw, dialect):
    """Make a query."""
    return draw(st.sampled_from(SHAPES)).format(*(draw(expressions(dialect)) for _ in range(4)))


@st.composite
def wrapped(draw, dialect, statements):
    """Make a text whose last statement is one of these, behind comments and queries."""
    blank = st.sampled_from([" ", "\n", "\t", "\f", "/* ' */", "/**/", "-- '\n", "-- x\n", ";", " ; ;", "/* -- */"])
    before = "".join(draw(st.lists(blank, max_size=4)))
    query = draw(st.one_of(st.just(""), reads(dialect).map("{};".format)))
    words = draw(st.sampled_from(statements)).split(" ")
    gaps = st.sampled_from([" ", "\n", "/**/", " /* ' */ ", " -- '\n", "\t \f"])
    statement = "".join(word + draw(gaps) for word in words)
    upper = draw(st.booleans())
    return before + query + (statement.upper() if upper else statement)


def writes(dialect, text):
    return Translator(dialect, "qmark").bind(text, ())[0].writes


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_queries_are_not_taken_for_writes(dialect, data):
    text = data.draw(reads(dialect))
    assert not writes(dialect, text)


WRITES = {
    "any": [
        "insert into t values (1)",
        "update t set a = 1",
        "delete from t",
        "create table u (a int)",
        "drop table t",
        "with x as ( select 1 ) delete from t",
        "with x as ( select 1 ) insert into t select * from x",
        "with x as ( select 1 ), y as ( select 2 ) update t set a = 1",
        "call f ( )",
    ],
    "sqlite": [
        "pragma query_only = off",
        "pragma query_only ( 0 )",
        "attach 'x' as y",
        "vacuum",
        "replace into t values (1)",
    ],
    "postgresql": [
        "with x as ( delete from t returning 1 ) select * from x",
        "with x as ( update only t set a = 1 returning 1 ) select * from x",
        "select * into u from t",
        "select * from t for no key update",
        "explain analyze delete from t",
        "explain ( analyze , verbose ) update t set a = 1",
        'explain ( "analyze" ) delete from t',
        "set default_transaction_read_only = off",
        "set session characteristics as transaction read write",
        "set local transaction_read_only to false",
        "begin isolation level serializable , read write",
        "select set_config ( 'transaction_' || 'read_only' , 'off' , false )",
        "select set_config ( lower ( 'X' ) , 'off' , false )",
        "do 'begin end'",
        "copy t from 'x'",
        "execute x",
        "commit ; select 1",
    ],
    "mysql": [
        "select 1 into outfile 'x'",
        "set session tx_read_only = 1 - 1",
        "set @a = 1 , global max_connections = 1",
        "start transaction with consistent snapshot , read write",
        "begin not atomic delete from t ; end",
        "analyze delete from t",
        "set statement tx_read_only = 0 for select f ( )",
        "/*! delete */ from t",
    ],
    "odbc": ["merge into t using s on true when matched then delete"],
}


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_writes_are_found_behind_comments_and_queries(dialect, data):
    text = data.draw(wrapped(dialect, [*WRITES["any"], *WRITES[dialect]]))
    assert writes(dialect, text)
