"""The load maker: a chain of shops that does not exist, with members whose habits are known, because they were drawn."""
