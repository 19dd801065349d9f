"""One door to a model: find it, check it, load it, and read or resume its forward pass.

Nothing here knows what a document, a neuron of interest or a run is.
"""
