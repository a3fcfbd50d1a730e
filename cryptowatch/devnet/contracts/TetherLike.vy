# pragma version 0.4.3
# pragma evm-version prague
"""
@title TetherLike
@notice USDT as it is on Ethereum: nothing is answered by transfers and approvals, transfers can be paused,
        senders blacklisted (recipients are not looked at), fees switched on; as many storage reads, too.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256

name: public(constant(String[32])) = "Tether USD"
symbol: public(constant(String[32])) = "USDT"
decimals: public(constant(uint8)) = 6

owner: public(address)
paused: public(bool)
deprecated: public(bool)
basisPointsRate: public(uint256)
maximumFee: public(uint256)
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
isBlackListed: public(HashMap[address, bool])


@deploy
def __init__():
    self.owner = msg.sender


@external
def transfer(_to: address, _value: uint256):
    self._move(msg.sender, _to, _value)


@external
def transferFrom(_from: address, _to: address, _value: uint256):
    allowed: uint256 = self.allowance[_from][msg.sender]
    if allowed < max_value(uint256):
        self.allowance[_from][msg.sender] = allowed - _value
    self._move(_from, _to, _value)


@external
def approve(_spender: address, _value: uint256):
    # An allowance must be taken back before it is changed.
    assert _value == 0 or self.allowance[msg.sender][_spender] == 0
    self.allowance[msg.sender][_spender] = _value
    log Approval(owner=msg.sender, spender=_spender, value=_value)


@external
def mint(holders: DynArray[address, 100], amount: uint256):
    self._only_owner()
    for holder: address in holders:
        self.balanceOf[holder] += amount
        self.totalSupply += amount
        log Transfer(sender=empty(address), receiver=holder, value=amount)


@external
def setPaused(paused: bool):
    self._only_owner()
    self.paused = paused


@external
def setBlackListed(account: address, listed: bool):
    self._only_owner()
    self.isBlackListed[account] = listed


@external
def setParams(basis_points: uint256, fee_max: uint256):
    self._only_owner()
    self.basisPointsRate = basis_points
    self.maximumFee = fee_max


@view
@internal
def _only_owner():
    assert msg.sender == self.owner


@internal
def _move(_from: address, _to: address, _value: uint256):
    assert not self.paused
    assert not self.isBlackListed[_from]
    assert not self.deprecated
    fee: uint256 = min(_value * self.basisPointsRate // 10_000, self.maximumFee)
    self.balanceOf[_from] -= _value
    self.balanceOf[_to] += _value - fee
    log Transfer(sender=_from, receiver=_to, value=_value - fee)
    if fee > 0:
        self.balanceOf[self.owner] += fee
        log Transfer(sender=_from, receiver=self.owner, value=fee)
