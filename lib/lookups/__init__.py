"""Context look-ups in transformers: the code that the chapters share."""

import os

# Intel's library then adds up a row of a product in the same order however many rows there are,
# so that what is read together does not change what is found. It looks when it first computes.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
