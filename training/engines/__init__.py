"""Where work on rows runs: functions over Arrow batches, in this process or by Ray Data on many machines."""
