"""The HTTP gateway: events in by HTTP, answers for the till out of a read model that folds the logs with the same core."""
