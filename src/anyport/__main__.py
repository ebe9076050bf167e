"""python -m anyport."""

import sys

from anyport.cli import main

sys.exit(main())
