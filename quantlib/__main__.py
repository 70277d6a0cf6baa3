"""`python -m quantlib`."""

import sys

from quantlib.cli import main

sys.exit(main())
