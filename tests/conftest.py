"""What every test may use: fixtures on real parts, from `tests/support`."""

import sys

pytest_plugins = ["tests.support.devnet_fixtures"]

#: The interpreter's own. py_ecc, which only tests and the devnet load (by eth-account), raises it to a hundred times as
#: much, and then JSON that is nested without end crashes the process where it must be an error.
_RECURSION_LIMIT = 1000


def pytest_collection_finish() -> None:
    """Everything is imported by now."""
    sys.setrecursionlimit(_RECURSION_LIMIT)
