"""P2 after an absence: a daemon that was away, started late or was told of an address late misses nothing."""


