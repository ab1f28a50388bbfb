"""The server of the page: the door, the runs, uploads, files, limits and readiness."""
