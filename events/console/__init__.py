"""What every room's console pages are made of: live parts that follow the log, read-only lists, details."""
