"""Statements that change a session, in all the ways they can be written, each with a query that shows the change."""

from __future__ import annotations

__all__ = ("CHANGES", "LASTING", "LIBRARIES_ONLY", "SETUP", "SHOWN_BY_USE", "STREAMS")

_NAME = "show application_name"
_SETTING = "select nullif(current_setting('app.tenant', true), '')"
_LOCKS = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
_TABLE = "select to_regclass('mine')::text"
_CURSORS = "select count(*) from pg_cursors"
_VARIABLE = "select @mine"

SETUP = {
    "postgresql": (
        "create table users (id integer)",
        "create procedure rename() language sql as $$ select set_config('application_name', 'mine', false) $$",
    ),
    "mysql": (
        "create table users (id integer)",
        "insert into users values (7)",
        "create procedure assign() set @mine = 7",
    ),
    "sqlite": ("create table users (id integer)",),
}
"""What the changes below need."""

CHANGES = {
    "postgresql": (
        # settings
        ("select set_config('app.tenant', '1', false)", _SETTING),
        ("SELECT\n\tPG_CATALOG . SET_CONFIG /* no /* one */ sees it */ ('app.tenant', '1', FALSE)", _SETTING),
        ("select \"set_config\"(name, '1', false) from (values ('app.tenant')) as v (name)", _SETTING),
        ("with changed as (select set_config('app.tenant', '1', false)) select * from changed", _SETTING),
        ("values (set_config('app.tenant', '1', false))", _SETTING),
        ("select set_config('app.other', '1', true), set_config('app.tenant', '1', false)", _SETTING),
        ("insert into users select length(set_config('app.tenant', '1', false))", _SETTING),
        ("explain (analyze, costs off) select set_config('app.tenant', '1', false)", _SETTING),
        ("set app.tenant = 1", _SETTING),
        ("/* now */ -- then\n  SeT\n\tSESSION app.tenant TO 1 ;", _SETTING),
        ("select 1; set application_name = 'mine'", _NAME),
        ("begin; set application_name = 'mine'; commit", _NAME),
        ("do $$ begin set application_name = 'mine'; end $$", _NAME),
        ("do language plpgsql 'begin perform set_config(''application_name'', ''mine'', false); end'", _NAME),
        ("call rename()", _NAME),
        ("update pg_settings set setting = 'mine' where name = 'application_name'", _NAME),
        ("update only \"pg_catalog\".pg_settings as s set setting = 'mine' where name = 'application_name'", _NAME),
        ("set search_path to pg_catalog", "show search_path"),
        ("set schema 'pg_catalog'", "show search_path"),
        ("set statement_timeout = 4321", "show statement_timeout"),
        ("set names 'latin1'", "show client_encoding"),
        ("set time zone 'Asia/Tokyo'", "show timezone"),
        ("set datestyle to 'German'", "show datestyle"),
        ("set extra_float_digits = 0", "show extra_float_digits"),
        ("set default_transaction_read_only = on", "show default_transaction_read_only"),
        ("set session characteristics as transaction read only", "show default_transaction_read_only"),
        (
            "set session characteristics as transaction isolation level serializable",
            "show default_transaction_isolation",
        ),
        # temporary objects
        ("create temporary table mine (i integer)", _TABLE),
        ("create local temp table mine as select 1 as i", _TABLE),
        ("create table pg_temp.mine (i integer)", _TABLE),
        ('create table "pg_temp" . mine (i integer)', _TABLE),
        ("select 1 as i into temporary mine", _TABLE),
        ("select 1 as i into temp table mine", _TABLE),
        ("select 1 as i into pg_temp.mine", _TABLE),
        ("explain analyze create temp table mine as select 1 as i", _TABLE),
        ("create or replace temp view mine as select 1 as i", _TABLE),
        ("create temp recursive view mine (i) as select 1", _TABLE),
        ("create temp sequence mine", _TABLE),
        ("do $$ begin create temp table mine (i integer); end $$", _TABLE),
        ("create type pg_temp.mine as (i integer)", "select to_regtype('pg_temp.mine')::text"),
        (
            "create function pg_temp.mine() returns integer language sql as 'select 1'",
            "select count(*) from pg_proc where pronamespace = pg_my_temp_schema()",
        ),
        # locks
        ("select pg_advisory_lock(42)::text", _LOCKS),
        ("select pg_advisory_lock_shared(4, 2)::text", _LOCKS),
        ("select pg_try_advisory_lock(42)", _LOCKS),
        ('select "pg_try_advisory_lock_shared" (4, 2)', _LOCKS),
        ("select count(*) from generate_series(1, 3) as s (i) where pg_try_advisory_lock(i)", _LOCKS),
        ("select pg_advisory_lock(42)::text; select pg_advisory_lock(42)::text", _LOCKS),
        # what else a session has
        ("listen news", "select count(*) from pg_listening_channels()"),
        ("prepare mine as select 1", "select count(*) from pg_prepared_statements where name = 'mine'"),
        ("declare mine cursor with hold for select 1", _CURSORS),
        ("declare mine binary insensitive no scroll cursor with hold for select 1", _CURSORS),
        ("begin; declare mine cursor with hold for select 1; commit", _CURSORS),
    ),
    "mysql": (
        # user variables
        ("set @mine = 7", _VARIABLE),
        ("-- now\n# then\n/* and */ SET\t@mine := 7", _VARIABLE),
        ("/*!50000 set @mine = 7 */", _VARIABLE),
        ("/*M! set @mine = 7 */", _VARIABLE),
        ("SeLeCt\n@mine:=7", _VARIABLE),
        ("select @`mine` := 7", _VARIABLE),
        ("select 7 into @mine", _VARIABLE),
        ("select 7 from (select 1) as x into @`mine`", _VARIABLE),
        ("do @mine := 7", _VARIABLE),
        ("update users set id = (@mine := id)", _VARIABLE),
        ("insert into users select @mine := 7", _VARIABLE),
        ("with x as (select @mine := 7) select * from x", _VARIABLE),
        ("get diagnostics @mine = number", _VARIABLE),
        ("get current diagnostics @mine = row_count", _VARIABLE),
        ("call assign()", _VARIABLE),
        ("begin not atomic set @mine = 7; end", _VARIABLE),
        ("if 1 then set @mine = 7; end if", _VARIABLE),
        ("repeat set @mine = 7; until 1 end repeat", _VARIABLE),
        # settings
        ("use information_schema", "select database()"),
        ("set session sql_mode = 'ANSI'", "select @@sql_mode"),
        ("set local sql_mode = 'NO_BACKSLASH_ESCAPES'", "select @@sql_mode"),
        ("set @@session.sql_mode = ''", "select @@sql_mode"),
        ("set time_zone = '+05:00'", "select @@time_zone"),
        ("set autocommit = 0", "select @@autocommit"),
        ("set foreign_key_checks = 0", "select @@foreign_key_checks"),
        ("set max_statement_time = 4321", "select @@max_statement_time"),
        ("set session transaction read only", "select @@tx_read_only"),
        ("set session transaction isolation level serializable", "select @@tx_isolation"),
        # locks
        ("select get_lock('mine', 0)", "select is_used_lock('mine') = connection_id()"),
        ("do get_lock('mine', 0)", "select is_used_lock('mine') = connection_id()"),
    ),
    "sqlite": (
        ("pragma foreign_keys = off", "pragma foreign_keys"),
        ("/* now */ PRAGMA\n main . cache_size = -77", "pragma cache_size"),
        ("pragma busy_timeout(7)", "pragma busy_timeout"),
        ("pragma query_only = on", "pragma query_only"),
        ("pragma case_sensitive_like = on", "select 'a' like 'A'"),
        ("pragma recursive_triggers = on", "pragma recursive_triggers"),
        ("pragma temp_store = memory", "pragma temp_store"),
        ("create temp table mine (i integer)", "select count(*) from temp.sqlite_master"),
        ("CREATE TEMPORARY TABLE mine AS SELECT 1", "select count(*) from temp.sqlite_master"),
        ("create table temp.mine (i integer)", "select count(*) from temp.sqlite_master"),
        ('create table "temp".mine (i integer)', "select count(*) from temp.sqlite_master"),
        ("create table [temp].mine (i integer)", "select count(*) from temp.sqlite_master"),
        ("create table `temp`.mine (i integer)", "select count(*) from temp.sqlite_master"),
        ("create temp view mine as select 1", "select count(*) from temp.sqlite_master"),
        (
            "create temp trigger mine after insert on users begin select 1; end",
            "select count(*) from temp.sqlite_master",
        ),
        ("attach ':memory:' as other", "select count(*) from pragma_database_list where name = 'other'"),
    ),
}
"""By dialect: changes, and what shows them."""

LASTING = {
    "postgresql": ("select pg_advisory_lock(42)::text", _LOCKS),
    "mysql": ("set @mine = 7", _VARIABLE),
    "sqlite": ("pragma cache_size = -77", "pragma cache_size"),
}
"""By dialect: a change that no rollback undoes, and what shows it."""

LIBRARIES_ONLY = (
    ("execute immediate 'set @mine = 7'", _VARIABLE),
    ("set names utf8mb4 collate utf8mb4_bin", "select @@collation_connection"),
)
"""Changes that the ODBC drivers for MySQL refuse."""

SHOWN_BY_USE = (
    ("create or replace temporary table mine as select 1 as i", "select i from mine"),
    ("create temporary sequence mine", "select nextval(mine)"),
    ("handler users open", "handler users read first"),
)
"""Changes on MySQL that are there if the second statement works."""

STREAMS = {
    "postgresql": ("select pg_try_advisory_lock(i), i from generate_series(1, 2500) as s (i)", _LOCKS),
    "mysql": ("select @mine := seq from seq_1_to_2500", _VARIABLE),
}
"""Queries whose rows change the session one by one, and what shows it."""
