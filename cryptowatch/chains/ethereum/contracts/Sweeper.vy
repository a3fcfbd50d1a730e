# pragma version 0.4.3
# pragma evm-version prague
# pragma optimize gas
"""
@title Sweeper
@notice Sweeps many deposit addresses in one transaction. An address that fails, or has no delegation yet, is
        passed over; the destination is the delegate's, never the caller's choice.
"""

ACCOUNTS_MAX: constant(uint256) = 200
# Many times what a sweep takes: one that runs wild must not take the others' gas.
SWEEP_GAS: constant(uint256) = 200_000

operators: public(immutable(DynArray[address, 16]))


@deploy
def __init__(_operators: DynArray[address, 16]):
    assert len(_operators) > 0, "no operators"
    operators = _operators


@external
def sweep(token: address, accounts: DynArray[address, ACCOUNTS_MAX]):
    """
    @notice Asks each account for its whole balance of a token, or of native coin for the zero address.
    """
    assert msg.sender in operators, "not an operator"
    request: Bytes[36] = abi_encode(token, method_id=method_id("sweep(address)"))
    for account: address in accounts:
        swept: bool = raw_call(account, request, gas=SWEEP_GAS, max_outsize=0, revert_on_failure=False)
