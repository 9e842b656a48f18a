"""Kernels: numpy arrays in, numpy arrays out. No file here knows AnnData, pandas or a plot."""
