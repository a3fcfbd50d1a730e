# pragma version 0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Payouts
@notice Pays many recipients in one transaction, of which none can keep the others from being paid.
        Tokens come from the vault, which allows this contract to spend them; native coin comes along
        with the call. What is paid shows as the token's own Transfer log, what is not as `Failed`.
@dev    Nothing can be changed after the deployment. The contract owns nothing between two calls.
"""

event Failed:
    index: uint256

ITEMS_MAX: constant(uint256) = 200
# Enough for a wallet contract to take note; too little to do anything else.
RECIPIENT_GAS: constant(uint256) = 10_000

vault: public(immutable(address))
operators: public(immutable(DynArray[address, 16]))


@deploy
def __init__(_vault: address, _operators: DynArray[address, 16]):
    assert _vault != empty(address), "no vault"
    assert len(_operators) > 0, "no operators"
    vault = _vault
    operators = _operators


@external
@nonreentrant
def payTokens(
    token: address, recipients: DynArray[address, ITEMS_MAX], amounts: DynArray[uint256, ITEMS_MAX]
):
    """
    @notice Moves amounts of a token from the vault to the recipients, each whatever becomes of the others.
    """
    self._check(len(recipients), len(amounts))
    has_code: bool = token.is_contract
    index: uint256 = 0
    for recipient: address in recipients:
        done: bool = False
        answer: Bytes[32] = b""
        done, answer = raw_call(
            token,
            abi_encode(
                vault, recipient, amounts[index], method_id=method_id("transferFrom(address,address,uint256)")
            ),
            max_outsize=32,
            revert_on_failure=False,
        )
        # Some tokens answer nothing (USDT), and neither does an address without code.
        if not (done and ((len(answer) == 0 and has_code) or self._is_true(answer))):
            log Failed(index=index)
        index = unsafe_add(index, 1)


@external
@payable
@nonreentrant
def payNative(recipients: DynArray[address, ITEMS_MAX], amounts: DynArray[uint256, ITEMS_MAX]):
    """
    @notice Hands the value of the call on to the recipients, which get little gas and whose answers are not
            read. What could not be paid goes back to the caller.
    """
    self._check(len(recipients), len(amounts))
    total: uint256 = 0
    unpaid: uint256 = 0
    index: uint256 = 0
    for recipient: address in recipients:
        amount: uint256 = amounts[index]
        total += amount
        # Where less gas than that is left, a recipient that fails for it leaves too little to go on with: the
        # whole payment is undone (EIP-150 keeps back a 64th only). So nobody fails for a stingy caller.
        if not raw_call(
            recipient, b"", value=amount, gas=RECIPIENT_GAS, max_outsize=0, revert_on_failure=False
        ):
            unpaid += amount
            log Failed(index=index)
        index = unsafe_add(index, 1)
    assert total == msg.value, "the value is not the sum"
    if unpaid > 0:
        raw_call(msg.sender, b"", value=unpaid)


@view
@internal
def _check(recipients: uint256, amounts: uint256):
    assert msg.sender in operators, "not an operator"
    assert recipients == amounts, "lengths differ"
    assert recipients > 0, "nothing to pay"


@pure
@internal
def _is_true(answer: Bytes[32]) -> bool:
    return len(answer) == 32 and convert(answer, uint256) == 1
