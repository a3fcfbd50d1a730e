"""What every test may use: fixtures on real parts, from `tests/support`."""

pytest_plugins = ["tests.support.devnet_fixtures"]
