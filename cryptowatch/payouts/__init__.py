"""Withdrawals: their machine, policy, queue, batches and fee bids."""
