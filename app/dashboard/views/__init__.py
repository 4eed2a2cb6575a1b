"""The pages of the dashboard: parse, call, render."""
