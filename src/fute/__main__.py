"""Run the command `fute` by `python -m fute`."""

from fute.cli import main

main()
