# pragma version 0.4.3
# pragma evm-version prague
"""
@title Refuser
@notice A recipient that takes no native coin.
"""


@external
@payable
def __default__():
    raise "refused"
