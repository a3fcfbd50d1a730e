"""Contracts of the private network only: tokens with their quirks, and recipients that behave badly."""
