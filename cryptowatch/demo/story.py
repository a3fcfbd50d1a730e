"""The play: each chapter does something real and holds the outcome against the nodes, not against the daemon's word."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from cryptowatch.accounts.play import TransferKind
from cryptowatch.demo.casino import Casino, until
from cryptowatch.demo.timeline import Timeline
from cryptowatch.demo.witness import Witness
from cryptowatch.devnet import Net

BTC = Decimal
_SETTLE_S = 1.0


@dataclass
class Story:
    """What the chapters hand on to each other."""

    net: Net
    casino: Casino
    line: Timeline
    witness: Witness
    accounts: dict[str, str] = field(default_factory=dict)
    payout_transaction: str = ""
    #: Who was given which address of an Ethereum chain, and what it received.
    deposit_addresses: dict[str, tuple[str, str]] = field(default_factory=dict)

    async def play(self, chapters: "Sequence[Chapter]") -> None:
        for chapter in chapters:
            self.line.chapter(str(chapter.__doc__))
            await chapter(self)

    async def player(self, name: str, chain: str = "bitcoin") -> tuple[str, str]:
        """(account, a fresh address) of a player, who is signed up at first sight."""
        if name not in self.accounts:
            await self.sign_up(name)
        return self.accounts[name], await self.casino.address(self.accounts[name], chain)

    async def sign_up(self, name: str, **by: str) -> str:
        """The account of a new player; `by` a referral's code, an agent."""
        self.accounts[name] = await self.casino.account(name, **by)
        return self.accounts[name]

    async def pay_in(self, name: str, amount: str) -> tuple[str, str]:
        """(account, transaction) of a payment from outside, in the mempools."""
        account, address = await self.player(name)
        return account, await self.net.send(address, amount)


async def deposits(s: Story) -> None:
    """Deposits: seen at once, playable after a block, theirs after three"""
    alice, alice_tx = await s.pay_in("alice", "0.8")
    bob, bob_tx = await s.pay_in("bob", "0.5")
    carol, carol_tx = await s.pay_in("carol", "2")
    for account, tx_hash in ((alice, alice_tx), (bob, bob_tx), (carol, carol_tx)):
        await s.casino.until_deposit(account, tx_hash, "detected")
    s.line.check(
        await s.witness.confirmations(alice_tx) == 0,
        "three deposits are seen while they wait in the mempools",
    )
    s.line.check((await s.casino.balance(alice))["playable"] == 0, "and nothing is credited for them yet")
    await s.net.mine(1)
    await s.casino.until_deposit(alice, alice_tx, "credited")
    await s.casino.until_deposit(bob, bob_tx, "credited")
    s.line.check(await s.witness.confirmations(alice_tx) == 1, "one block: alice and bob can play")
    balance = await s.casino.balance(alice)
    s.line.check(
        balance["playable"] == BTC("0.8") and balance["withdrawable"] == 0,
        "but not withdraw: nothing is final",
    )
    big = await s.casino.deposit(carol, carol_tx)
    s.line.check(
        big is not None and big["state"] == "confirming",
        "carol's 2 BTC wait for a second block: a higher tier",
    )
    await s.casino.transfer(alice, TransferKind.BET, "0.3")
    s.line.check(
        (await s.casino.balance(alice))["playable"] == BTC("0.5"), "alice bets 0.3 of what is not final yet"
    )
    refusal = await s.casino.refused(alice, "0.1", await s.witness.new_address())
    s.line.check(refusal == "insufficient_withdrawable", "alice cannot withdraw what is not final")
    await s.net.mine(1)
    await s.casino.until_deposit(carol, carol_tx, "credited")
    await s.net.mine(1)
    await s.casino.until_deposit(alice, alice_tx, "finalized")
    s.line.check(await s.witness.confirmations(alice_tx) == 3, "three blocks: alice's deposit is final")
    s.line.check(
        (await s.casino.balance(alice))["withdrawable"] == BTC("0.5"), "what the bet left can be withdrawn"
    )
    await s.net.mine(3)
    await s.casino.until_deposit(carol, carol_tx, "finalized")
    s.line.check(await s.witness.confirmations(carol_tx) == 6, "six blocks: carol's is final, too")


async def reorg(s: Story) -> None:
    """A reorg takes a credited deposit away, after the player lost it at the tables"""
    dave, tx_hash = await s.pay_in("dave", "0.4")
    await s.net.mine(1)
    await s.casino.until_deposit(dave, tx_hash, "credited")
    await s.casino.transfer(dave, TransferKind.BET, "0.3")
    s.line.tell("dave's 0.4 is credited, and he loses 0.3 of it")
    left = await s.witness.ask("getbestblockhash")
    await s.net.reorg(1, drop=[tx_hash])
    # Reversed at once; replaced a moment later, when no mempool holds the transaction any more.
    gone = await s.casino.until_deposit(dave, tx_hash, "reversed", "replaced")
    header = await s.witness.ask("getblockheader", left)
    s.line.check(header["confirmations"] == -1, "the nodes left the block that held his deposit")
    told = [event["type"] for event in await s.casino.events() if event["entity"]["id"] == gone["id"]]
    s.line.check("deposit.reversed" in told, f"and so were told: {', '.join(told)}")
    balance = await s.casino.balance(dave)
    s.line.check(
        balance["debt"] == BTC("0.3") and balance["playable"] == 0,
        "the credit is reversed, and dave owes 0.3",
    )
    _, again = await s.pay_in("dave", "0.5")
    await s.net.mine(3)
    await s.casino.until_deposit(dave, again, "finalized")
    balance = await s.casino.balance(dave)
    s.line.check(
        balance["debt"] == 0 and balance["withdrawable"] == BTC("0.2"), "his next 0.5 pays the debt first"
    )


async def re_mined(s: Story) -> None:
    """A reorg that mines the same deposit again credits it once, not twice"""
    erin, tx_hash = await s.pay_in("erin", "0.25")
    await s.net.mine(2)
    first = await s.casino.until_deposit(erin, tx_hash, "credited")
    await s.net.reorg(2)

    async def moved() -> bool:
        now = await s.casino.deposit(erin, tx_hash)
        return (
            now is not None and now["state"] in ("credited", "finalized") and now["block"] != first["block"]
        )

    await until(moved, "the deposit in its new block")
    s.line.check(await s.witness.confirmations(tx_hash) >= 1, "the new branch holds the same transaction")
    s.line.check((await s.casino.balance(erin))["total"] == BTC("0.25"), "erin has 0.25, as before")
    await s.net.mine(3)
    await s.casino.until_deposit(erin, tx_hash, "finalized")


async def double_spend(s: Story) -> None:
    """A double spend is caught before it is worth anything"""
    mallory, tx_hash = await s.pay_in("mallory", "0.6")
    await s.casino.until_deposit(mallory, tx_hash, "detected")
    other = (await s.net.double_spend(tx_hash))["tx_hash"]
    s.line.tell("mallory spends the same coins again, to herself, at a higher fee")
    await s.net.mine(1)
    await s.casino.until_deposit(mallory, tx_hash, "replaced")
    s.line.check(await s.witness.confirmations(other) == 1, "the other transaction is in a block")
    s.line.check(
        (await s.casino.balance(mallory))["total"] == 0,
        "mallory's deposit is replaced, and was never credited",
    )


async def withdrawals(s: Story) -> None:
    """Ten withdrawals leave in one transaction"""
    wanted = {}
    for n in range(10):
        name = ("alice", "bob", "carol")[n % 3]
        address, amount = await s.witness.new_address(), f"0.0{n + 1:02d}"
        asked = await s.casino.withdraw(s.accounts[name], amount, address)
        wanted[asked["id"]] = (address, BTC(amount))
    sent = [await s.casino.until_withdrawal(asked, "sending") for asked in wanted]
    hashes = {row["tx_hash"] for row in sent}
    s.line.check(len(hashes) == 1, "ten requests of three players became one transaction")
    (s.payout_transaction,) = hashes
    await until(lambda: _in_mempool(s, s.payout_transaction), "the payout in the mempool")
    outputs = await s.witness.outputs(s.payout_transaction)
    s.line.check(
        all(outputs.get(address) == amount for address, amount in wanted.values()),
        "the nodes hold it, with every recipient's exact amount",
    )
    found = await s.witness.ask("getmempoolentry", s.payout_transaction)
    s.line.tell(f"{found['vsize']} virtual bytes, {found['vsize'] / len(wanted):.0f} for each payout")
    await s.net.mine(1)
    await asyncio.gather(*(s.casino.until_withdrawal(asked, "confirmed") for asked in wanted))
    await s.net.mine(5)
    await asyncio.gather(*(s.casino.until_withdrawal(asked, "finalized") for asked in wanted))
    s.line.check(
        await s.witness.confirmations(s.payout_transaction) == 6, "six blocks later all ten are final"
    )
    s.line.check((await s.casino.balance(s.accounts["alice"]))["held"] == 0, "and no money is held any more")


async def lying_node(s: Story) -> None:
    """A node lies about a block, and another one dies"""
    await s.net.fault(2, "forged_block")
    await s.net.mine(1)
    await until(lambda: _node_is(s, 2, "quarantined"), "the liar's quarantine")
    true_hash = await s.witness.ask("getbestblockhash")
    lie = await s.net.bitcoin[2].proxied("getbestblockhash")
    s.line.check(lie != true_hash, "node 2 tells of a block that the others do not know, and is quarantined")
    frank, tx_hash = await s.pay_in("frank", "0.15")
    await s.net.mine(1)
    await s.casino.until_deposit(frank, tx_hash, "credited")
    s.line.check(await s.witness.confirmations(tx_hash) == 1, "two honest nodes are enough to go on")
    await s.net.kill("bitcoin:1")
    _, waiting = await s.pay_in("frank", "0.05")
    await s.net.mine(1)
    await asyncio.sleep(_SETTLE_S)
    found = await s.casino.deposit(frank, waiting)
    s.line.check(
        await s.witness.confirmations(waiting) == 1 and (found is None or found["state"] != "credited"),
        "node 1 is dead: one honest node is no quorum, and nothing is credited",
    )
    await s.net.clear_faults()
    await s.net.start("bitcoin:1")
    await s.casino.until_deposit(frank, waiting, "credited")
    s.line.check(
        (await s.casino.balance(frank))["playable"] == BTC("0.2"), "node 1 is back: nothing was lost"
    )
    await until(lambda: _node_is(s, 2, "healthy"), "the liar's return")
    s.line.tell("node 2 tells the truth again and is relied on again")


async def killed(s: Story) -> None:
    """The daemon is killed between writing a payout down and sending it"""
    for node in range(len(s.net.bitcoin)):
        await s.net.fault(node, "drop", methods=["sendrawtransaction"])
    address = await s.witness.new_address()
    asked = await s.casino.withdraw(s.accounts["carol"], "0.77", address, "urgent")
    tx_hash = (await s.casino.until_withdrawal(asked["id"], "sending"))["tx_hash"]
    written = await until(lambda: s.witness.signed_bytes(tx_hash), "the signed bytes in the database")
    await s.net.kill("daemon")
    await s.net.clear_faults()
    s.line.check(
        await s.witness.confirmations(tx_hash) == -1,
        "the signed payout is written down, no node knows it, the daemon is dead (SIGKILL)",
    )
    await s.net.mine(2)
    s.line.tell("two blocks pass meanwhile")
    await s.net.start("daemon")
    await until(lambda: _in_mempool(s, tx_hash), "the payout in the mempool")
    sent = await s.witness.ask("getrawtransaction", tx_hash)
    s.line.check(sent == written, "started again, it sends the very bytes that it had written down")
    await s.net.mine(6)
    await s.casino.until_withdrawal(asked["id"], "finalized")
    s.line.check(
        await s.witness.transactions_paying(address) == {tx_hash}, "carol was paid by one transaction, once"
    )


async def _in_mempool(s: Story, tx_hash: str) -> bool:
    return await s.witness.confirmations(tx_hash) == 0


async def _node_is(s: Story, node: int, state: str) -> bool:
    return (await s.casino.nodes())[f"bitcoin-{node}"] == state


Chapter = Callable[[Story], Awaitable[None]]
CHAPTERS: tuple[Chapter, ...] = (
    deposits,
    reorg,
    re_mined,
    double_spend,
    withdrawals,
    lying_node,
    killed,
)
