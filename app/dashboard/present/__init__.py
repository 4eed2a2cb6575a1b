"""How things read in the dashboard. Pure functions: no request, no query."""
