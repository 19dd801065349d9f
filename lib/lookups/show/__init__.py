"""Figures in the book's style and interactive views that open without a network.

Nothing is computed here.
"""
