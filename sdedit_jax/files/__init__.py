"""Users' files: the one place that opens them, and readers of JSON, tables and zips.

A file is read whole, line by line, or mapped, after the same check: a regular file within a limit.
"""
