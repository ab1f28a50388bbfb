"""Measurements written down: figures, tables, words and files."""
