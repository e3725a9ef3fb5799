"""The engine: how facts become points, on Kafka or offline."""

import os

from engine.compiled import prefer_compiled

# Arrow brings NumPy along, whose threads for matrices turn idly for a while in every process that starts.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
prefer_compiled()
