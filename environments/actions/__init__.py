"""The only writers of the environments room."""
