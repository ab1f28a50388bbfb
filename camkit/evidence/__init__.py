"""Evidence on one picture's maps: metrics, curves, the sweep and the sanity check."""
