# pragma version 0.4.3
# pragma evm-version prague
"""
@title Fickle
@notice Pays another amount in every block: the same call pays something else once a reorg has mined it again.
"""


@external
@payable
def pay(to: address):
    most: uint256 = msg.value // 2
    amount: uint256 = most + convert(convert(block.coinbase, uint160), uint256) % most
    raw_call(to, b"", value=amount)
    raw_call(msg.sender, b"", value=msg.value - amount)
