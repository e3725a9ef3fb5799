"""The tests: unit, properties, kafka, chaos, projections, independent, docs."""
