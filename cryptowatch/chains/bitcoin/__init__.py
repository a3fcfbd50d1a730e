"""The Bitcoin family: reads its chain, builds and reads its transactions. Holds no private key."""
