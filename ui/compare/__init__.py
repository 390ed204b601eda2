"""Comparing two models under one dial: the page, its claims, and the measurements it cites."""
