# pragma version 0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title SweepDelegate
@notice The code that players' deposit addresses delegate to (EIP-7702): the sweeper, and nobody else, can make
        them send what they hold to one destination. It runs in the context of the deposit address.
@dev    Keeps no storage, so that it leaves nothing behind when the delegation is replaced.
"""

from ethereum.ercs import IERC20

event Swept:
    amount: uint256

sweeper: public(immutable(address))
destination: public(immutable(address))


@deploy
def __init__(_sweeper: address, _destination: address):
    assert _sweeper != empty(address), "no sweeper"
    assert _destination != empty(address), "no destination"
    sweeper = _sweeper
    destination = _destination


@external
@payable
def __default__():
    """
    @notice Deposits arrive as before, also from contracts that give them 2,300 gas.
    """
    pass


@external
def sweep(token: address):
    """
    @notice Sends the whole balance of a token, or of native coin for the zero address. Reverts when it cannot.
    """
    assert msg.sender == sweeper, "not the sweeper"
    if token == empty(address):
        amount: uint256 = self.balance
        if amount > 0:
            raw_call(destination, b"", value=amount)
            log Swept(amount=amount)
        return
    held: uint256 = staticcall IERC20(token).balanceOf(self)
    if held > 0:
        # Some tokens answer nothing (USDT).
        answer: Bytes[32] = raw_call(
            token,
            abi_encode(destination, held, method_id=method_id("transfer(address,uint256)")),
            max_outsize=32,
        )
        assert len(answer) == 0 or (len(answer) == 32 and convert(answer, uint256) == 1), "not transferred"
