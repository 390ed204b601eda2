"""Maps of an embedding: UMAP and the projector pair it teaches, how far a map can be trusted, its
regions, and maps laid upon each other.
"""
