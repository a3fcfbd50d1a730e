"""Referrals: codes, who referred whom, and what is earned by it."""
