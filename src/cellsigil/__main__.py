"""``python -m cellsigil`` is the command line."""

import sys

from cellsigil.cli import main

sys.exit(main())
