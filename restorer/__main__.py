"""``python -m restorer``."""

from restorer.cli.app import main

main()
