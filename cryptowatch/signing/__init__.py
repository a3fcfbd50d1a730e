"""The signer: a process of its own that holds the keys, its policy, and the client that asks it.

Keeps P9: nothing outside this folder (and its commands) ever touches a private key.
"""
