"""Measurements over a set of pictures, with checkpoints, in one process or on a cluster."""
