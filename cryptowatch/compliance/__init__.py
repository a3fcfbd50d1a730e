"""Compliance: who did what, in a log that cannot be changed unseen; what looks like laundering; cases for people."""
