"""What pages show of a service: the context of `templates/services/parts/`, forms, small pictures."""
