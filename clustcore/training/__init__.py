"""Training: one loop for every model and defence, its epochs, its views, its resume state, and the
teacher of a training that has one.
"""
