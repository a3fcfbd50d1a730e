"""The one Postgres: its pool and transactions, named queries, migrations.

Knows nothing of what the tables mean; `ledger/` and the features above it do.
"""
