"""Deposits: addresses that players pay to, the watcher that follows a chain, the confirmation machine."""
