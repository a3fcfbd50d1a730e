"""Attacks on the money paths that once succeeded, kept as tests: each fails when its fix is undone."""
