"""`python -m cryptowatch.devnet`: fetches what a devnet needs and the machine lacks. For scripts."""

import sys

from cryptowatch.devnet import bitcoind
from cryptowatch.devnet.ethereum import anvil
from cryptowatch.errors import OperatorError

try:
    print("bitcoind:", bitcoind.find_or_fetch().argv[-1])
    print("anvil:", anvil.find_or_fetch())
except OperatorError as problem:
    sys.exit(f"error: {problem}")
