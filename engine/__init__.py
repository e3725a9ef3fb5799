"""The engine: how facts become points, on Kafka or offline."""
