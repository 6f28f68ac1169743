"""The modules of bench/ import each other by their names alone, because they are run as scripts."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "bench"))
