"""Stages and tables on disk, executing chapters, building the book, the command line.

What a chapter asks, and how it answers, is in the chapter.
"""
