"""Network code that the built-in handlers share."""
