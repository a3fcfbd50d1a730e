"""Requests that leave for addresses that others chose: where they may go, and how they are signed."""
