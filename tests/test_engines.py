"""The one PostgreSQL that the checks of a process share: nobody meets what another left."""

from __future__ import annotations

import engines
import pytest

from anyport.kit import postgres

pytestmark = pytest.mark.target_postgres


def test_each_has_a_database_of_its_own_and_leaves_nothing() -> None:
    engines.need("postgres")
    with engines.shared():
        with postgres.server() as (first, held), postgres.server() as (second, same):
            assert held is same
            with postgres.connected(first) as one, postgres.connected(second) as other:
                one.run("create table mine (x int)")
                one.run("create role reader")
                one.run("grant select on mine to reader")
                assert other.ask("select to_regclass('mine')") == [(None,)]
        with postgres.server() as (third, _), postgres.connected(third) as session:
            assert session.ask("select to_regclass('mine')") == [(None,)]
            assert session.ask("select rolname from pg_roles where rolname = 'reader'") == []
            [(count,)] = session.ask("select count(*) from pg_database where datname like 'tested%'")
            assert count == 1


def test_a_server_that_died_is_begun_anew() -> None:
    engines.need("postgres")
    with engines.shared():
        with postgres.server() as (_, held):
            pass
        held.process.terminate()
        held.process.wait(60)
        with postgres.server() as (dsn, again), postgres.connected(dsn) as session:
            assert again is not held
            assert session.ask("select 1") == [(1,)]
