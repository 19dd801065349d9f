"""What the paper prints, and what its authors released, as tables.

No model is loaded here, and nothing is compared: chapter 14 does that.
"""
