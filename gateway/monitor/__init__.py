"""The monitor: a process beside the workers that reads their log, runs the detectors and tells the controller of alarms."""
