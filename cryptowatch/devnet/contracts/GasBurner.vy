# pragma version 0.4.3
# pragma evm-version prague
"""
@title GasBurner
@notice A recipient that uses up all gas it is given.
"""

turns: uint256


@external
@payable
def __default__():
    for turn: uint256 in range(max_value(uint256)):
        self.turns = turn
