"""Loopback ports that stay ours: found free, and held while their program dies and starts again.

A held port is bound but never listened on. With SO_REUSEADDR set after binding, a program that sets it too
(bitcoind does) may listen on the port, while the kernel gives it to nobody who asks for any free port. Two
devnets, or two test workers, therefore never meet on a port.
"""

import socket


class HeldPort:
    """One loopback TCP port; give it back with `close`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()
