"""A private network of real nodes, for trying, testing and measuring: `async with devnet.up(DIR) as net: …`.

`network.up` starts it, `client.Net` is how it is used, `client.connect` finds one that runs in a folder.
"""

from cryptowatch.devnet.client import Net, connect
from cryptowatch.devnet.network import up

__all__ = ["Net", "connect", "up"]
