"""Files of an explanation: one figure, and the zip with everything."""
