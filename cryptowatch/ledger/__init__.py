"""The double-entry ledger: accounts, postings, balances, the event log, and the proof that all of it agrees.

Its parts, in the order to read them:

    rules       what each kind of posting does (pure)
    accounts    who can hold a balance of what
    postings    moving money: one posting, or a batch in one round trip
    balances    what an account has; folding house deltas in
    statement   an account's history, newest first
    events      the log of every state change, and its order
    verify      checks every promise over the whole database
"""
