"""Ethereum and the chains that speak its language: accounts with nonces, receipts with logs, tokens by contract."""
