"""Redis: which pending jobs are ready to run. Only a hint: losing a key changes when a job runs, never whether it runs."""
