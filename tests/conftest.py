"""What every test may use: fixtures on real parts, from `tests/support`."""

import sys

from cryptowatch.chains.ethereum.family import NESTING_MAX

pytest_plugins = ["tests.support.devnet_fixtures"]


def pytest_collection_finish() -> None:
    """As in the daemon. By now everything is imported, also py_ecc, which raises the limit to a hundred thousand."""
    sys.setrecursionlimit(NESTING_MAX)
