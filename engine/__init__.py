"""The engine: how facts become points, on Kafka or offline."""

from engine.compiled import prefer_compiled

prefer_compiled()
