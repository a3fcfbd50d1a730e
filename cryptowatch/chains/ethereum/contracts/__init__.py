"""Our own contracts: batched payouts, sweeping. Source (.vy), and what it compiles to (.json) beside it.

`scripts/contracts` compiles them; nothing of the compiler is needed to run the daemon.
"""
