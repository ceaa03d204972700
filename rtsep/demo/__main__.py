"""``python -m rtsep.demo [OUTPUT]``; OUTPUT is demo-out where it is not given."""

import sys
from pathlib import Path

from rtsep.cli.console import complain
from rtsep.demo.show import show
from rtsep.errors import RtsepError

try:
    show(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out"))
except RtsepError as error:
    complain(str(error))
    sys.exit(2)
except KeyboardInterrupt:
    complain("interrupted; what was unfinished is removed")
    sys.exit(130)
