"""The family of Ethereum and the chains that work like it."""
