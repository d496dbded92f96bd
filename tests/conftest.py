"""Settings for all tests."""

import os

# Tests run side by side: more threads than cores in each of them slow torch and NumPy down several times.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
