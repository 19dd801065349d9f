"""What the model reads: texts from anywhere, tokenised once, found again by key.

The planted language, whose answers are known, is read like any other. Nothing is measured here.
"""
