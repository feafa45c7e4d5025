"""`python -m fute` is the command `fute`."""

from fute.cli import main

main()
