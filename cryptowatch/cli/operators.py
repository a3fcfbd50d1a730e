"""Who types a command, for the audit log. Used by every command that changes something."""

import os
import pwd

from cryptowatch.clock import SystemClock
from cryptowatch.compliance.audit import append_entry
from cryptowatch.compliance.chain import Entry
from cryptowatch.db.pool import Connection


async def note_command(conn: Connection, command: str, *subjects: str, outcome: str = "done") -> None:
    """In the command's own transaction."""
    now = SystemClock().now()
    await append_entry(conn, Entry(_operator(), command, subjects, None, None, outcome, now))


def _operator() -> str:
    """By the system's word, which no environment variable changes."""
    user_id = os.getuid()
    try:
        return f"operator:{pwd.getpwuid(user_id).pw_name}"
    except KeyError:
        return f"operator:{user_id}"
