"""Plots of training, by matplotlib."""
