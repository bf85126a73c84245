"""`python -m whyserve`."""

import sys

from whyserve.cli import main

sys.exit(main())
