"""What we hold against what we owe."""
