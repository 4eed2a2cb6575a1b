"""The schemas of the API: they validate requests, render responses and document both."""
