"""Context look-ups in transformers: the code that the chapters share."""
