"""One door to a model: find it, check it, load it, and read or resume its forward pass.

What is read, and which neurons matter, is decided elsewhere.
"""
