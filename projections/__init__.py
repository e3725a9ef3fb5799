"""What analysts see: DuckDB tables that are nothing but a fold of the logs, kept by one writer, read with a token."""
