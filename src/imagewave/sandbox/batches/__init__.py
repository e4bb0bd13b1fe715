"""Batch jobs and single calls, whichever API they came by."""
