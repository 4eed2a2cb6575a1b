"""The figures of the API, the dashboard and /metrics: cheap to read at any size."""
