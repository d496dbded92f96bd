"""Settings for all tests."""

import os

from hypothesis import HealthCheck, settings

# Tests run side by side: more threads than cores in each of them slow torch and NumPy down several times.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Time is no property of the code under test: other tests run beside it.
settings.register_profile("tests", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
