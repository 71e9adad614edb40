"""Graphs: what is drawn, read into cards, laid out and written."""
