"""Tests that need a broker: a real Apache Kafka, started here, or the embedded one."""
