"""The life of one on-chain transaction of ours: reserve, build, sign, broadcast, bump, track, settle."""
