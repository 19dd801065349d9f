"""Stages and tables on disk, executing chapters, building the book, the command line.

No chapter-specific idea lives here.
"""
