"""What is written of measurements: figures, tables, words and files."""
