# pragma version 0.4.3
# pragma evm-version prague
"""
@title StandardToken
@notice An ERC-20 token as the standard says, with a minter.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256

name: public(immutable(String[32]))
symbol: public(immutable(String[32]))
decimals: public(immutable(uint8))
owner: public(immutable(address))

totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(_name: String[32], _symbol: String[32], _decimals: uint8):
    name = _name
    symbol = _symbol
    decimals = _decimals
    owner = msg.sender


@external
def transfer(_to: address, _value: uint256) -> bool:
    self._move(msg.sender, _to, _value)
    return True


@external
def transferFrom(_from: address, _to: address, _value: uint256) -> bool:
    allowed: uint256 = self.allowance[_from][msg.sender]
    if allowed < max_value(uint256):
        self.allowance[_from][msg.sender] = allowed - _value
    self._move(_from, _to, _value)
    return True


@external
def approve(_spender: address, _value: uint256) -> bool:
    self.allowance[msg.sender][_spender] = _value
    log Approval(owner=msg.sender, spender=_spender, value=_value)
    return True


@external
def mint(holders: DynArray[address, 100], amount: uint256):
    assert msg.sender == owner
    for holder: address in holders:
        self.balanceOf[holder] += amount
        self.totalSupply += amount
        log Transfer(sender=empty(address), receiver=holder, value=amount)


@internal
def _move(_from: address, _to: address, _value: uint256):
    self.balanceOf[_from] -= _value
    self.balanceOf[_to] += _value
    log Transfer(sender=_from, receiver=_to, value=_value)
