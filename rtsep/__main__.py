"""``python -m rtsep`` is the command ``rtsep``."""

from rtsep.cli import main

main()
