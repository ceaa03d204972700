"""The command line: ``rtsep live | devices | separate | transcribe | models | info | doctor``.

Exit status: 0 all went well, 1 `rtsep doctor` found something essential broken, 2
something given cannot be used (one line says what), 130 interrupted.
"""

from rtsep.cli.app import main as main
