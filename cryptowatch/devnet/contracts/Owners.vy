# pragma version 0.4.3
# pragma evm-version prague
"""
@title Owners
@notice Holds money and does what it is told, as a Safe does once its owners have signed.
"""


@external
@payable
def __default__():
    pass


@external
def act(to: address, amount: uint256, data: Bytes[1024]):
    raw_call(to, data, value=amount)
