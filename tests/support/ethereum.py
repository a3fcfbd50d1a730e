"""Currencies of the devnet's chains of Ethereum's kind, as the devnet's settings have them."""

from tests.support.running import Currency

ETH = Currency("ethereum", "ETH", 18)
#: Counts in 6 decimals on this chain, in 18 in the ledger.
USDT = Currency("ethereum", "USDT", 18)
USDC = Currency("ethereum", "USDC", 6)
BSC_USDT = Currency("bsc", "USDT", 18)
