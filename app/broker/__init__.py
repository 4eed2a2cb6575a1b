"""Redis: which pending jobs are ready to run. A hint, never the truth: losing a key changes when a job runs, never whether."""
