"""What the paper prints, and what its authors released, file by file, checked.

No model is loaded here, and nothing is put together or compared: chapter 14 does that.
"""
