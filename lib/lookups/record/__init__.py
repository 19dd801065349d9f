"""What the paper's authors released: read it, and compare a run with it.

No model is loaded here.
"""
