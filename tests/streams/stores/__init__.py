"""Flag stores against real clients and real sockets."""
