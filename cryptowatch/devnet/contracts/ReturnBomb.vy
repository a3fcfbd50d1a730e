# pragma version 0.4.3
# pragma evm-version prague
"""
@title ReturnBomb
@notice A recipient that refuses with so long a reason that reading it would cost its payer dearly.
"""


@external
@payable
def __default__():
    raw_revert(empty(Bytes[24_000]))
