"""`python -m cryptowatch.devnet`: fetches what a devnet needs and the machine lacks. For scripts."""

import sys

from cryptowatch.devnet import bitcoind
from cryptowatch.errors import OperatorError

try:
    print("bitcoind:", bitcoind.find_or_fetch().argv[-1])
except OperatorError as problem:
    sys.exit(f"error: {problem}")
