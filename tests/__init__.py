"""The tests, a package so that `tests.support` is found before any installed package of that name."""
