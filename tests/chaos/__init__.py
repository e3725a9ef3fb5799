"""Chaos on a real Kafka: everything dies, everything is recomputed. See docs/chaos.md."""
