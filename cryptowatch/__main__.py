"""`python -m cryptowatch` = the command `cryptowatch`."""

from cryptowatch.cli import main

main()
