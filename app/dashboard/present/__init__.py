"""What the dashboard shows: words, rows and drawings. Pure functions: no request, no query."""
