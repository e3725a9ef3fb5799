"""The conformance kit: what upstream publishes is examined before, or while, it is published."""
