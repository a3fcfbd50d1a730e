"""Migrations: applied once and in order, by many processes at once, and after a kill in the middle."""

import subprocess
import sys
import time

import psycopg
import pytest

from cryptowatch.db.migrate import migrate, pending
from cryptowatch.errors import DatabaseUnavailable

RUN = "import sys; from cryptowatch.db.migrate import migrate; print(','.join(migrate(sys.argv[1])))"

#: Holds the migration up in its middle, so that it can be killed there.
STALL = """
CREATE FUNCTION stall() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_query() LIKE '%CREATE TABLE house_delta%' THEN PERFORM pg_sleep(60); END IF;
END $$;
CREATE EVENT TRIGGER stall ON ddl_command_start EXECUTE FUNCTION stall();
"""


def start(dsn: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", RUN, dsn], stdout=subprocess.PIPE, text=True)


def test_a_new_database_gets_everything_once_and_in_order(empty_database: str) -> None:
    names = pending(empty_database)
    assert names == sorted(names)
    assert names[0] == "0001-ledger"
    assert migrate(empty_database) == names
    assert pending(empty_database) == migrate(empty_database) == []


def test_processes_that_start_at_once_apply_each_migration_once(empty_database: str) -> None:
    names = pending(empty_database)
    processes = [start(empty_database) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(outputs) == ["", "", ",".join(names)]
    assert pending(empty_database) == []


def test_a_migration_killed_in_the_middle_is_applied_whole_by_the_next(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(STALL)
        victim = start(empty_database)
        stalled = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        deadline = time.monotonic() + 30
        while connection.execute(stalled).fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        victim.kill()
        victim.communicate()
        successor = start(empty_database)
        # Its backend notices only when it wakes: it holds the lock until then, and the successor waits.
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        )
        connection.execute("DROP EVENT TRIGGER stall")
        output, _ = successor.communicate(timeout=60)
    assert (successor.returncode, output.split(",")[0]) == (0, "0001-ledger")
    assert pending(empty_database) == []


def test_a_lock_row_that_a_killed_process_left_behind_holds_nobody_up(empty_database: str) -> None:
    migrate(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("DELETE FROM _yoyo_migration")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute(
            "CREATE TABLE yoyo_lock (locked int PRIMARY KEY DEFAULT 1, ctime timestamp, pid int)"
        )
        connection.execute("INSERT INTO yoyo_lock (ctime, pid) VALUES ('2026-01-01', 1)")
    assert migrate(empty_database)[0] == "0001-ledger"


def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        migrate("postgresql://x@localhost:1/x")
    with pytest.raises(DatabaseUnavailable):
        pending("postgresql://x@localhost:1/x")
