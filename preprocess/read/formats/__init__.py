"""Formats of annotation files: a file -> raw records, one by one, from its start or from the middle."""
