"""Processes of a server: start and stop them, fork workers, supervise, bind sockets, choose processors."""
