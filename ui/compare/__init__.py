"""Comparing two models under one dial: the page, its sentences, and the measurements it cites."""
