"""What a chain is (`port`), how several nodes agree on one (`agreement`, `nodes`), and one folder per family.

Adding a chain = adding a folder here and its settings. No family imports another.
"""
