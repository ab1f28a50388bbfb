"""One file for each tab, and what they share."""
