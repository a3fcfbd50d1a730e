"""Ethereum in the devnet: real nodes (anvil) that a coordinator keeps on one chain. See `chain.EvmChain`."""
