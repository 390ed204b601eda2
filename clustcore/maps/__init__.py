"""Maps of an embedding: how they are made, how far they can be trusted, how two are compared."""
