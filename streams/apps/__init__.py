"""What people start: the command line, the API, the page."""
