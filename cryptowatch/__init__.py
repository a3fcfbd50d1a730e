"""cryptowatch: takes crypto deposits and pays crypto withdrawals for casino platforms.

Start reading at `daemon.py`, which wires everything, then `deposits/watcher.py`.
"""

__version__ = "0.1.0"
