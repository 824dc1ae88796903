"""The small files of versions, parsed, and what environments are made of."""
