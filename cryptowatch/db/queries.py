"""SQL lives in `*.sql` files beside the module that uses it; this loads them by name.

A file is a list of named queries, each with a one-line purpose:

    -- name: account_by_owner
    -- The account of one owner, role and asset.
    SELECT ...

Used as `SQL = load_queries(__package__, "accounts.sql")` and `SQL["account_by_owner"]`, at import: a file
that breaks the form fails there, before any work is taken.
"""

import re
from collections.abc import Mapping
from importlib.resources import files

_NAME = re.compile(r"^--\s*name:\s*(.*?)\s*$", re.MULTILINE)
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


class Queries(dict[str, str]):
    """Queries by name; asking for one that the file has not names the file and what it has."""

    def __init__(self, source: str, queries: Mapping[str, str]) -> None:
        super().__init__(queries)
        self._source = source

    def __missing__(self, name: str) -> str:
        raise KeyError(f"{self._source} has no query {name!r}; it has {', '.join(sorted(self))}")


def load_queries(package: str, filename: str) -> Mapping[str, str]:
    """Read one file of named queries. Raises ValueError naming file and query when its form is broken."""
    text = files(package).joinpath(filename).read_text(encoding="utf-8")
    return parse_queries(text, source=f"{package}/{filename}")


def parse_queries(text: str, source: str) -> Mapping[str, str]:
    """Split `text`; see the module for the form. `source` is how errors name it."""
    names = list(_NAME.finditer(text))
    if not names:
        raise ValueError(f"{source}: no '-- name:' line")
    queries: dict[str, str] = {}
    for match, following in zip(names, [*names[1:], None], strict=True):
        name = match.group(1)
        body = text[match.end() : following.start() if following else len(text)].strip()
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"{source}: {name!r} is not a query name")
        if name in queries:
            raise ValueError(f"{source}: query {name!r} stands there twice")
        if not body.startswith("-- ") or not _statement_of(body):
            raise ValueError(f"{source}: query {name!r} needs a one-line purpose and a statement")
        queries[name] = body
    return Queries(source, queries)


def _statement_of(body: str) -> str:
    lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).strip()
