# pragma version 0.4.3
# pragma evm-version prague
"""
@title Hungry
@notice A recipient that needs most of the gas that a payment gives it.
"""


@external
@payable
def __default__():
    seed: bytes32 = empty(bytes32)
    for turn: uint256 in range(70):
        seed = keccak256(seed)
    assert seed != empty(bytes32)
