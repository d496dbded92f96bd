"""Makes helper modules of the test folders importable."""

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "sw"):
    sys.path.insert(0, str(folder))
