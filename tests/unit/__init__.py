"""Small tests without Kafka or files of their own."""
