"""How far a map can be believed: metrics, studies over many pictures, intervals and reports."""
