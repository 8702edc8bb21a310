"""The only writers of the sessions room."""
