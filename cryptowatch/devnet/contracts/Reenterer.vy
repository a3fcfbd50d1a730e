# pragma version 0.4.3
# pragma evm-version prague
"""
@title Reenterer
@notice An operator of Payouts that is also paid by it, and uses every coin it receives to call it again.
"""

interface Payouts:
    def payNative(recipients: DynArray[address, 200], amounts: DynArray[uint256, 200]): payable

payouts: public(address)
#: How often a call from within a payment went through.
reentered: public(uint256)


@external
def aim(payouts: address):
    self.payouts = payouts


@external
@payable
def pay(recipients: DynArray[address, 200], amounts: DynArray[uint256, 200]):
    extcall Payouts(self.payouts).payNative(recipients, amounts, value=msg.value)


@external
@payable
def __default__():
    recipients: DynArray[address, 1] = [self.payouts]
    amounts: DynArray[uint256, 1] = [msg.value]
    done: bool = raw_call(
        self.payouts,
        abi_encode(recipients, amounts, method_id=method_id("payNative(address[],uint256[])")),
        value=msg.value,
        revert_on_failure=False,
    )
    if done:
        self.reentered += 1
