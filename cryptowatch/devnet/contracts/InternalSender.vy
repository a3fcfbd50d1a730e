# pragma version 0.4.3
# pragma evm-version prague
"""
@title InternalSender
@notice Sends native coin on from inside a call, as exchanges' and wallets' contracts do: no transaction of the
        block names the recipient, and there is no log. Keeps nothing for itself.
"""

STIPEND: constant(uint256) = 0


@external
@payable
def forward(to: address):
    raw_call(to, b"", value=msg.value)


@external
@payable
def forwardWithStipend(to: address):
    """
    @notice The recipient gets the 2,300 gas that come with a value, and no more.
    """
    raw_call(to, b"", value=msg.value, gas=STIPEND)


@external
@payable
def forwardMany(to: DynArray[address, 100], amounts: DynArray[uint256, 100]):
    left: uint256 = msg.value
    index: uint256 = 0
    for recipient: address in to:
        raw_call(recipient, b"", value=amounts[index])
        left -= amounts[index]
        index += 1
    raw_call(msg.sender, b"", value=left)


@external
@payable
def forwardInVain(to: address):
    """
    @notice Sends within a frame that is undone, although the transaction succeeds; the value goes back.
    """
    done: bool = raw_call(
        self,
        abi_encode(to, method_id=method_id("forwardAndRevert(address)")),
        value=msg.value,
        revert_on_failure=False,
    )
    assert not done
    raw_call(msg.sender, b"", value=msg.value)


@external
@payable
def forwardAndRevert(to: address):
    raw_call(to, b"", value=msg.value)
    raise "undone"
