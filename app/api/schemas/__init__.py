"""The JSON shapes of the API: what is validated, rendered and documented."""
