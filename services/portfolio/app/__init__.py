"""The use cases: following the log, showing what it comes to, analytics."""
