"""Faust and Kafka: topics, clients, the batch transport, intake, keepers and the worker around them."""
