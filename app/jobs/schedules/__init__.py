"""Schedules: jobs that are enqueued at set times, by a cron line in a time zone or at an interval."""
