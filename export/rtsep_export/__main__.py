"""``python -m rtsep_export`` is ``rtsep-export``."""

from rtsep_export.cli import main

main()
