"""The only writers of the processes room."""
