"""``python -m onelayer``: the command line."""

from onelayer.cli import main

main()
