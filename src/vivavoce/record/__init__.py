"""The store: schema, writer and read-only reader. The only place with SQL."""
