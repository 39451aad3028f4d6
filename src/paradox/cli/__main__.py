"""`python -m paradox.cli` is `paradox`."""

from __future__ import annotations

import sys

from paradox.cli import main

sys.exit(main())
