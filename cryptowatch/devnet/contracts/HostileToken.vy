# pragma version 0.4.3
# pragma evm-version prague
"""
@title HostileToken
@notice A token that anybody can switch to misbehave, for tests of those who must bear it.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

HONEST: constant(uint256) = 0
# A hundredth is kept back.
TAKES_A_FEE: constant(uint256) = 1
# Says that it did not move anything, and did not.
ANSWERS_FALSE: constant(uint256) = 2
REVERTS: constant(uint256) = 3

name: public(constant(String[32])) = "Hostile"
symbol: public(constant(String[32])) = "HOST"
decimals: public(constant(uint8)) = 6

mode: public(uint256)
refused: public(HashMap[address, bool])
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@external
def switch(mode: uint256):
    assert mode <= REVERTS
    self.mode = mode


@external
def refuse(recipient: address, refused: bool):
    """
    @notice A recipient's blacklist, as USDC has it.
    """
    self.refused[recipient] = refused


@external
def transfer(_to: address, _value: uint256) -> bool:
    return self._move(msg.sender, _to, _value)


@external
def transferFrom(_from: address, _to: address, _value: uint256) -> bool:
    self.allowance[_from][msg.sender] -= _value
    return self._move(_from, _to, _value)


@external
def approve(_spender: address, _value: uint256) -> bool:
    self.allowance[msg.sender][_spender] = _value
    return True


@external
def mint(holders: DynArray[address, 100], amount: uint256):
    for holder: address in holders:
        self.balanceOf[holder] += amount
        log Transfer(sender=empty(address), receiver=holder, value=amount)


@internal
def _move(_from: address, _to: address, _value: uint256) -> bool:
    assert self.mode != REVERTS and not self.refused[_to]
    if self.mode == ANSWERS_FALSE:
        return False
    fee: uint256 = 0
    if self.mode == TAKES_A_FEE:
        fee = _value // 100
    self.balanceOf[_from] -= _value
    self.balanceOf[_to] += _value - fee
    log Transfer(sender=_from, receiver=_to, value=_value - fee)
    return True
